"""The checked-in AsyncAPI document is what the classes say, and no message changes its form under an old version."""

import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
from fastapi import FastAPI
from pydantic import create_model

from stoker_api.application import build_application
from stoker_shared.asyncapi import document, stream_messages
from stoker_shared.commands import COMMANDS, CancelJob
from stoker_shared.events import EVENTS, PreparationStarted
from stoker_shared.messages import Envelope
from tools.contracts import (
    ASYNCAPI,
    MESSAGES,
    asyncapi_text,
    fingerprint,
    read_versions,
    unversioned_changes,
    version_of,
    with_present,
)


def test_checked_in_document_is_what_the_classes_say() -> None:
    assert ASYNCAPI.read_text() == asyncapi_text(), "run python -m tools.contracts and commit docs/asyncapi.json"


@asynccontextmanager
async def _unconnected(_application: FastAPI) -> AsyncIterator[None]:
    yield


async def test_the_api_shows_the_same_document_and_a_page_made_of_it() -> None:
    transport = httpx.ASGITransport(build_application(_unconnected, checks={}))
    async with httpx.AsyncClient(transport=transport, base_url="http://api") as client:
        shown = (await client.get("/asyncapi.json")).json()
        page = await client.get("/asyncapi")
    assert shown == json.loads(ASYNCAPI.read_text())
    assert page.headers["Content-Type"].startswith("text/html")
    (argument,) = re.findall(r"AsyncApiStandalone\.render\(\s*(\{.*\}),\s*document", page.text)
    assert json.loads(json.loads(argument)["schema"]) == shown


def test_no_message_changed_without_a_new_version() -> None:
    assert unversioned_changes(read_versions(), MESSAGES) == []


def test_every_message_of_today_is_written_down() -> None:
    known = read_versions()
    missing = [name.__name__ for name in MESSAGES if str(version_of(name)) not in known.get(name.__name__, {})]
    assert missing == [], "run python -m tools.contracts and commit tests/contract/message_versions.json"


def test_every_command_and_event_is_in_the_document() -> None:
    messages = document()["components"]["messages"]
    assert {f"{message.__name__}Message" for message in (*COMMANDS, *EVENTS)} <= messages.keys()


def test_every_address_lies_in_the_subjects_of_its_stream() -> None:
    for spec in stream_messages():
        assert f"{spec.subject.split('.')[0]}.>" in spec.stream.subjects
        assert f"{{{spec.parameter}}}" in spec.subject.split(".")


def test_every_reference_in_the_document_leads_somewhere() -> None:
    whole = document()
    for reference in _references(whole):
        target = whole
        for part in reference.removeprefix("#/").split("/"):
            assert part in target, f"{reference} leads nowhere"
            target = target[part]


@pytest.mark.parametrize(
    ("base", "field"),
    [
        (PreparationStarted, {"colour": (str, ...)}),
        (PreparationStarted, {"attempt": (str, ...)}),
        (CancelJob, {"why": (str | None, None)}),
        (CancelJob, {"description": (str, "")}),  # a field may be called like a word of JSON Schema
    ],
)
def test_a_changed_field_under_the_same_version_is_refused(base: type[Envelope], field: dict[str, object]) -> None:
    known = with_present({}, (base,))
    changed = create_model(base.__name__, __base__=base, **field)  # type: ignore[call-overload]
    (fault,) = unversioned_changes(known, (changed,))
    assert base.__name__ in fault
    assert "`schema_version: int = 2`" in fault


def test_a_changed_field_under_a_new_version_is_accepted_and_the_old_one_kept() -> None:
    known = with_present({}, (PreparationStarted,))
    changed = create_model("PreparationStarted", __base__=PreparationStarted, schema_version=(int, 2), colour=(str, ""))
    assert unversioned_changes(known, (changed,)) == []
    assert with_present(known, (changed,))["PreparationStarted"] == {
        "1": fingerprint(PreparationStarted),
        "2": fingerprint(changed),
    }


def test_a_changed_description_needs_no_new_version() -> None:
    changed = create_model("PreparationStarted", __base__=PreparationStarted, __doc__="Said in other words.")
    assert fingerprint(changed) == fingerprint(PreparationStarted)


def _references(node: object) -> list[str]:
    if isinstance(node, list):
        return [reference for item in node for reference in _references(item)]
    if not isinstance(node, dict):
        return []
    own = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
    return own + [reference for item in node.values() for reference in _references(item)]

"""`docs/openapi.json` says what the api promises: any change of it is seen in review."""

import json
from pathlib import Path
from typing import Any

import pytest

from stoker_api.application import openapi_document

DOCUMENT = Path(__file__).parents[2] / "docs" / "openapi.json"
HEALTH = {"/healthz", "/readyz"}


def operations() -> list[tuple[str, str, dict[str, Any]]]:
    paths = openapi_document()["paths"]
    return [(path, verb, operation) for path, item in paths.items() for verb, operation in item.items()]


def test_the_document_is_that_of_the_code() -> None:
    assert json.loads(DOCUMENT.read_text()) == openapi_document(), (
        "run: python -m stoker_api openapi > docs/openapi.json"
    )


@pytest.mark.parametrize(("path", "verb", "operation"), operations())
def test_every_number_in_a_question_is_bounded(path: str, verb: str, operation: dict[str, Any]) -> None:
    # One that no column can hold would be an error of ours and not of whoever asked.
    for parameter in operation.get("parameters", []):
        forms = parameter["schema"].get("anyOf", [parameter["schema"]])
        unbounded = [form for form in forms if form.get("type") == "integer" and "maximum" not in form]
        assert not unbounded, f"{verb} {path}: {parameter['name']}"


@pytest.mark.parametrize(("path", "verb", "operation"), operations())
def test_every_endpoint_says_what_it_does_what_it_answers_and_how_it_fails(
    path: str, verb: str, operation: dict[str, Any]
) -> None:
    assert operation.get("summary"), path
    if path in HEALTH:
        return
    assert operation.get("description"), f"{verb} {path}"
    successes = [response for status, response in operation["responses"].items() if status.startswith("2")]
    assert any(response.get("content") for response in successes), f"{verb} {path}"
    assert "401" in operation["responses"], f"{verb} {path}"
    assert operation.get("security"), f"{verb} {path}"


@pytest.mark.parametrize(("path", "verb", "operation"), operations())
def test_every_endpoint_about_one_object_says_that_it_may_not_be_there(
    path: str, verb: str, operation: dict[str, Any]
) -> None:
    if "{" in path:
        assert "404" in operation["responses"], f"{verb} {path}"

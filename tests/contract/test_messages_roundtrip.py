"""Every message survives its way over the bus, and nobody can change it on the way."""

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, TypeAdapter, ValidationError

from stoker_shared.asyncapi import stream_messages
from stoker_shared.commands import COMMANDS, Command, LaunchJob
from stoker_shared.events import EVENTS, AnyJobEvent, AnyPodEvent, Event, JobEvent, PodEvent
from stoker_shared.messages import Message
from stoker_shared.outbox.repository import cloud_event_headers
from stoker_shared.rpc import ALL_RPCS
from stoker_shared.rpc.metrics import Control
from stoker_shared.topology import STREAMS
from tests.support.generated_messages import filled

STREAM_MESSAGES: list[type[Message]] = [spec.message for spec in stream_messages()]
RPC_MESSAGES = {message.__name__: message for rpc in ALL_RPCS for message in (rpc.request, rpc.response)}
MESSAGES: list[type[Message]] = [*STREAM_MESSAGES, *(RPC_MESSAGES[name] for name in sorted(RPC_MESSAGES)), Control]

every_stream_message = pytest.mark.parametrize("kind", STREAM_MESSAGES, ids=lambda kind: kind.__name__)
every_message = pytest.mark.parametrize("kind", MESSAGES, ids=lambda kind: kind.__name__)
few = settings(max_examples=10, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


@every_message
@few
@given(data=st.data())
def test_a_message_comes_back_from_json_as_it_was(kind: type[Message], data: st.DataObject) -> None:
    message = data.draw(filled(kind))
    assert kind.model_validate_json(message.model_dump_json()) == message


@every_stream_message
@few
@given(data=st.data())
def test_a_message_comes_back_from_the_outbox_as_it_was(kind: type[Message], data: st.DataObject) -> None:
    message = data.draw(filled(kind))
    stored = json.loads(json.dumps(message.model_dump(mode="json"), allow_nan=False))
    assert kind.model_validate_json(json.dumps(stored).encode()) == message


@every_message
@few
@given(data=st.data())
def test_fields_of_a_newer_sender_are_ignored(kind: type[Message], data: st.DataObject) -> None:
    message = data.draw(filled(kind))
    newer = {**message.model_dump(mode="json"), "of_tomorrow": {"deep": [1]}}
    assert kind.model_validate(newer) == message


@every_message
def test_a_message_does_not_change(kind: type[Message]) -> None:
    message = kind.model_construct()
    for name in kind.model_fields:
        with pytest.raises(ValidationError, match="frozen"):
            setattr(message, name, None)


@every_message
def test_a_message_says_what_it_is(kind: type[Message]) -> None:
    assert kind.__doc__
    assert kind.__doc__ != Message.__doc__


@pytest.mark.parametrize("union", [AnyJobEvent, AnyPodEvent], ids=["job", "pod"])
@few
@given(data=st.data())
def test_a_consumer_of_all_events_tells_them_apart(union: Any, data: st.DataObject) -> None:
    base = JobEvent if union is AnyJobEvent else PodEvent
    kind = data.draw(st.sampled_from([event for event in EVENTS if issubclass(event, base)]))
    event = data.draw(filled(kind))
    assert type(TypeAdapter(union).validate_json(event.model_dump_json())) is kind


@pytest.mark.parametrize("kind", [*COMMANDS, *EVENTS], ids=lambda kind: kind.__name__)
@few
@given(data=st.data())
def test_subject_and_headers_follow_from_the_message(kind: type[Event] | type[Command], data: st.DataObject) -> None:
    message = data.draw(filled(kind))
    headers = cloud_event_headers(message)
    about = message.job_id if isinstance(message, Command) else message.aggregate_id
    assert about in message.subject.split(".")
    assert any(f"{message.subject.split('.')[0]}.>" in stream.subjects for stream in STREAMS)
    assert (headers["ce-id"], headers["ce-subject"]) == (str(message.event_id), about)
    assert headers["ce-type"] == f"stoker.{kind.__name__}.v{message.schema_version}"
    assert all(value.isascii() and value.isprintable() for value in headers.values())


def test_every_event_of_an_aggregate_has_a_fact_of_its_own() -> None:
    facts = [(event.aggregate, event.model_fields["type"].default) for event in EVENTS]
    assert len(set(facts)) == len(facts)


def test_every_event_class_is_listed() -> None:
    assert leaves(Event) == set(EVENTS)
    assert leaves(Command) == set(COMMANDS)


@few
@given(filled(LaunchJob))
def test_the_summary_of_a_launch_holds_none_of_the_users_variables(launch: LaunchJob) -> None:
    assert launch.summary() == {"job_id": launch.job_id, "plan_id": launch.plan_id, "offers": len(launch.offers)}


def leaves(base: type[BaseModel]) -> set[type[BaseModel]]:
    children = [child for child in base.__subclasses__() if child.__module__.startswith("stoker_shared.")]
    return {leaf for child in children for leaf in leaves(child)} if children else {base}

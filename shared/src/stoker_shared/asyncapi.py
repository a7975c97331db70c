"""The AsyncAPI 3.0 document of all messages that live in a stream: `python -m stoker_shared.asyncapi`.

FastStream makes channels, operations and schemas from the classes; what it cannot know (stream, headers, parameters)
is added here. `docs/asyncapi.json` is this document, checked in; a contract test compares.
"""

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from faststream.nats import NatsBroker
from faststream.specification import AsyncAPI

from stoker_shared.commands import COMMANDS, Command
from stoker_shared.events import EVENTS, Event
from stoker_shared.messages import Envelope, Message
from stoker_shared.rpc.metrics import TELEMETRY
from stoker_shared.subjects import telemetry
from stoker_shared.topology import STREAMS, StreamSpec

VERSION = "0.1.0"

PARAMETERS: dict[str, str] = {
    "job_id": "The job, `job-` and 16 hex digits.",
    "dataset_version_id": "The dataset version, its kind and 16 hex digits.",
}

_TEXT = {"type": "string"}
_TRACED_HEADERS: dict[str, Any] = {
    "Nats-Msg-Id": {**_TEXT, "description": "The same whenever this message is sent again; the broker drops doubles."},
    "traceparent": {**_TEXT, "description": "W3C trace context of the work that caused the message."},
}
_CLOUD_EVENT_HEADERS: dict[str, Any] = {
    "ce-specversion": {"const": "1.0"},
    "ce-id": {**_TEXT, "format": "uuid", "description": "Equal to `event_id`."},
    "ce-type": {**_TEXT, "description": "`stoker.<message>.v<schema_version>`"},
    "ce-source": _TEXT,
    "ce-subject": {**_TEXT, "description": "What the message is about."},
    "ce-time": {**_TEXT, "format": "date-time"},
    "content-type": {"const": "application/json"},
}

_DESCRIPTION = (
    "Everything that Stoker's services tell on NATS JetStream. Commands are consumed once; events are past facts and "
    "carry the state after the fact; telemetry is what machines report. Payloads are JSON. Receivers ignore fields "
    "that they do not know; a field that changes its meaning raises `schema_version`."
)


@dataclass(frozen=True, slots=True)
class StreamMessage:
    """One message class, its subject with the id as a parameter, and the stream that keeps it."""

    message: type[Message]
    subject: str
    parameter: str
    stream: StreamSpec


def stream_messages() -> list[StreamMessage]:
    """Every message that lives in a stream, commands first."""
    return [*_found(COMMANDS), *_found(EVENTS), *(_telemetry(kind, message) for kind, message in TELEMETRY.items())]


def document() -> dict[str, Any]:
    """The AsyncAPI document as plain data."""
    broker = NatsBroker()
    described = {spec.message.__name__: spec for spec in stream_messages()}
    for name, spec in described.items():
        broker.publisher(spec.subject, schema=spec.message, title=name, description=_about(spec))
    text = AsyncAPI(broker, title="Stoker", version=VERSION, description=_DESCRIPTION).to_specification().to_json()
    # A colon is not allowed in a component's name.
    specification: dict[str, Any] = json.loads(text.replace(":Message", "Message"))
    # Where the broker is differs from one installation to the next.
    del specification["servers"]
    for name, channel in specification["channels"].items():
        _complete_channel(channel, described[name])
    for name, spec in described.items():
        _complete_message(specification["components"]["messages"][f"{name}Message"], spec.message)
    return _in_order(specification, list(described))


def _found(classes: tuple[type[Command], ...] | tuple[type[Event], ...]) -> Iterator[StreamMessage]:
    for message in classes:
        # Every id field holds its own name, so the third token of the subject says which id is the parameter.
        ids: dict[str, Any] = {field: field for field in message.model_fields if field.endswith("_id")}
        example = message.model_construct(**ids)
        if isinstance(example, Event):
            example = example.model_copy(update={"type": message.model_fields["type"].default})
        yield _with_parameter(message, example.subject, example.subject.split(".")[2])


def _telemetry(kind: str, message: type[Message]) -> StreamMessage:
    return _with_parameter(message, telemetry("job_id", kind), "job_id")


def _with_parameter(message: type[Message], subject: str, parameter: str) -> StreamMessage:
    tokens = [f"{{{token}}}" if token == parameter else token for token in subject.split(".")]
    root = f"{tokens[0]}.>"
    stream = next(spec for spec in STREAMS if root in spec.subjects)
    return StreamMessage(message=message, subject=".".join(tokens), parameter=parameter, stream=stream)


def _about(spec: StreamMessage) -> str:
    kept = spec.stream.max_age.total_seconds() / 3600
    age = f"{kept / 24:.0f} days" if kept >= 24 else f"{kept:.0f} hours"
    how = "until it is handled, at most" if spec.stream.retention == "workqueue" else "for"
    return f"{spec.message.__doc__ or ''}\n\nStream {spec.stream.name}, kept {how} {age}."


def _complete_channel(channel: dict[str, Any], spec: StreamMessage) -> None:
    channel.pop("servers", None)
    channel.pop("bindings", None)
    channel["parameters"] = {spec.parameter: {"description": PARAMETERS[spec.parameter]}}


def _complete_message(message: dict[str, Any], kind: type[Message]) -> None:
    is_enveloped = issubclass(kind, Envelope)
    headers = {**_TRACED_HEADERS, **(_CLOUD_EVENT_HEADERS if is_enveloped else {})}
    message["name"] = kind.__name__
    message["title"] = kind.__name__
    message["contentType"] = "application/json"
    message["headers"] = {"type": "object", "properties": headers, "required": ["Nats-Msg-Id"]}
    message["correlationId"] = {"location": "$message.header#/traceparent", "description": "Ties a chain of work."}


def _in_order(specification: dict[str, Any], names: list[str]) -> dict[str, Any]:
    # FastStream keeps publishers in a set without order; the document is compared as text.
    components = {kind: dict(sorted(members.items())) for kind, members in specification["components"].items()}
    channels = {name: specification["channels"][name] for name in names}
    operations = {name: specification["operations"][name] for name in names}
    return {**specification, "channels": channels, "operations": operations, "components": components}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(document(), indent=2, ensure_ascii=False) + "\n")

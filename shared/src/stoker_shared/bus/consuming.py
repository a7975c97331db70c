"""Consuming a durable consumer with typed messages."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

import structlog
from faststream.nats import JStream, NatsMessage, PullSub
from opentelemetry.trace import SpanKind
from pydantic import TypeAdapter, ValidationError

from stoker_shared.bus.broker import Bus
from stoker_shared.errors import MessageInvalid
from stoker_shared.figures import MESSAGE_AGE, MESSAGE_SECONDS, timed
from stoker_shared.topology import consumer
from stoker_shared.trace import TRACEPARENT_HEADER, enter_trace, span

MessageT = TypeVar("MessageT")


@dataclass(frozen=True, slots=True)
class MessageContext:
    """What a handler may want to know beside the message."""

    subject: str
    delivered: int
    stream_sequence: int
    received_at: datetime
    """When the broker stored the message; in a redelivery too."""


def consume(
    bus: Bus,
    consumer_name: str,
    message_type: Any,
    handler: Callable[[Any, MessageContext], Awaitable[None]],
    *,
    workers: int = 8,
) -> None:
    """Hand each message of a consumer in `topology.CONSUMERS` to `handler`.

    `message_type` is a message class, a union of them, or a mapping to a class from the last token of the subject,
    which is quicker than a union that has no field to tell its members apart. The handler must be idempotent. It may
    raise a `TransientError` to get the message again later; any other error sends the message to the dead letters.
    """
    spec = consumer(consumer_name)
    decode = _decoder(message_type)
    bus.consumers.append(consumer_name)

    @bus.broker.subscriber(
        spec.filter_subject,
        stream=JStream(spec.stream, declare=False),
        durable=spec.name,
        # What is fetched but not yet taken by a worker is stuck until ack_wait when the process stops.
        pull_sub=PullSub(batch_size=workers, timeout=5),
        max_workers=workers,
        decoder=_as_it_came,
        inbox_prefix=bus.pull_inbox_prefix,
        no_reply=True,
    )
    async def receive(raw: NatsMessage) -> None:
        trace_id = enter_trace(raw.headers.get(TRACEPARENT_HEADER))
        context = _context(raw)
        now = datetime.now(UTC)  # allowed: time-not-passed-in, a figure of this very machine
        MESSAGE_AGE.labels(consumer_name).observe((now - context.received_at).total_seconds())
        with (
            structlog.contextvars.bound_contextvars(trace_id=trace_id),
            timed(MESSAGE_SECONDS, consumer_name),
            span(f"handle {consumer_name}", kind=SpanKind.CONSUMER),
        ):
            await handler(decode(raw.body, context.subject), context)


def _context(raw: NatsMessage) -> MessageContext:
    metadata = raw.raw_message.metadata
    return MessageContext(
        subject=raw.raw_message.subject,
        delivered=metadata.num_delivered,
        stream_sequence=metadata.sequence.stream,
        received_at=metadata.timestamp,
    )


async def _as_it_came(message: NatsMessage) -> NatsMessage:
    return message


def _decoder(message_type: Any) -> Callable[[bytes, str], Any]:
    if not isinstance(message_type, Mapping):
        adapter: TypeAdapter[Any] = TypeAdapter(message_type)
        return lambda body, subject: _decode(adapter, body, subject)
    adapters: dict[str, TypeAdapter[Any]] = {kind: TypeAdapter(named) for kind, named in message_type.items()}

    def decode(body: bytes, subject: str) -> Any:
        kind = subject.rpartition(".")[2]
        if kind not in adapters:
            raise MessageInvalid(f"The message on {subject} is of a kind that nobody here knows.")
        return _decode(adapters[kind], body, subject)

    return decode


def _decode(adapter: TypeAdapter[Any], body: bytes, subject: str) -> Any:
    try:
        return adapter.validate_json(body)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors()[:5])
        raise MessageInvalid(f"The message on {subject} does not have the form it should: {faults}.") from error

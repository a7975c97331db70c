"""Consuming a durable consumer with typed messages, one by one or in batches."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import structlog
from faststream.nats import JStream, NatsMessage, PullSub
from opentelemetry.trace import SpanKind

from stoker_shared.bus.batches import BatchConsumer, HandleBatch
from stoker_shared.bus.broker import Bus
from stoker_shared.bus.decoding import decoder
from stoker_shared.bus.delivery import MessageContext, context_of
from stoker_shared.figures import MESSAGE_AGE, MESSAGE_SECONDS, timed
from stoker_shared.topology import consumer
from stoker_shared.trace import TRACEPARENT_HEADER, enter_trace, span


def consume(
    bus: Bus,
    consumer_name: str,
    message_type: Any,
    handler: Callable[[Any, MessageContext], Awaitable[None]],
    *,
    workers: int = 8,
) -> None:
    """Hand each message of a consumer in `topology.CONSUMERS` to `handler`.

    `message_type`: see `decoder`. The handler must be idempotent. It may raise a `TransientError` to get the message
    again later; any other error sends the message to the dead letters.
    """
    spec = consumer(consumer_name)
    decode = decoder(message_type)
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
        context = context_of(raw.raw_message)
        now = datetime.now(UTC)  # allowed: time-not-passed-in, a figure of this very machine
        MESSAGE_AGE.labels(consumer_name).observe((now - context.received_at).total_seconds())
        with (
            structlog.contextvars.bound_contextvars(trace_id=trace_id),
            timed(MESSAGE_SECONDS, consumer_name),
            span(f"handle {consumer_name}", kind=SpanKind.CONSUMER),
        ):
            await handler(decode(raw.body, context.subject), context)


def consume_batches(bus: Bus, consumer_name: str, message_type: Any, handler: HandleBatch, *, limit: int) -> None:
    """Hand the messages of a consumer in `topology.CONSUMERS` to `handler`, at most `limit` at once.

    For messages that end in one commit together. As with `consume`, but that a `TransientError` brings all of the
    batch again; another error sends to the dead letters the message that it is about, and no other.
    """
    bus.consumers.append(consumer_name)
    bus.add_batches(BatchConsumer(consumer_name, message_type, handler, limit=limit))


async def _as_it_came(message: NatsMessage) -> NatsMessage:
    return message

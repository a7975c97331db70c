"""Consuming a durable consumer in batches: for messages that cost less together, because they end in one commit."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from stoker_shared.bus.decoding import Decode, decoder
from stoker_shared.bus.delivery import Delivery, context_of
from stoker_shared.bus.publishing import JetStreamPublisher
from stoker_shared.bus.pulling import Pull
from stoker_shared.bus.retry import exhausted, seconds_until_again
from stoker_shared.errors import MessageInvalid, TransientError
from stoker_shared.figures import MESSAGE_AGE, MESSAGE_SECONDS, MESSAGES, timed
from stoker_shared.logging import get_logger
from stoker_shared.tasks import end_tasks
from stoker_shared.topology import consumer
from stoker_shared.trace import enter_background

logger = get_logger(__name__)


_LONGEST_GATHERING = 0.25

HandleBatch = Callable[[Sequence[Delivery]], Awaitable[None]]


class BatchConsumer:
    """Hands messages over in batches, one batch at a time.

    A batch that fails for good is cut in halves until the bad message is alone: it must not take others with it to the
    dead letters.
    """

    def __init__(self, name: str, message_type: Any, handle: HandleBatch, *, limit: int) -> None:
        self.name = name
        self._decode: Decode = decoder(message_type)
        self._handle = handle
        self._pull = Pull(consumer(name), limit=limit)
        self._running: asyncio.Task[None] | None = None

    async def start(self, client: Client, publisher: JetStreamPublisher, *, inbox_prefix: str) -> "asyncio.Task[None]":
        """Begin. The task ends by itself only with an error that nobody foresaw."""
        await self._pull.start(client, inbox_prefix=inbox_prefix)
        self._running = asyncio.create_task(self._run(publisher), name=f"consumer {self.name}")
        return self._running

    def connection_returned(self) -> None:
        """Ask the broker anew."""
        self._pull.ask_again()

    async def stop(self, *, patience: float) -> None:
        """Let the batch at hand end; what was not begun goes back to the broker for others."""
        left = await self._pull.stop()
        if self._running is not None:
            await asyncio.wait([self._running], timeout=patience)
            await end_tasks([self._running])
        for raw in left:
            await raw.nak()

    async def _run(self, publisher: JetStreamPublisher) -> None:
        not_before, now = 0.0, asyncio.get_running_loop().time
        while batch := await self._pull.batch(not_before=not_before):
            began = now()
            with structlog.contextvars.bound_contextvars(trace_id=enter_background()):
                try:
                    await self._handle_all(await self._decoded(batch, publisher), publisher)
                except NatsError as error:
                    # What was handled comes again, and changes nothing then.
                    logger.warning("the end of a batch cannot be told", reason=type(error).__name__)
            # A commit costs much, one more message in it little. While messages keep coming, as long as the last
            # batch took is left for gathering the next one.
            not_before = now() + min(now() - began, _LONGEST_GATHERING)

    async def _decoded(self, batch: Sequence[Msg], publisher: JetStreamPublisher) -> list[tuple[Msg, Delivery]]:
        now = datetime.now(UTC)  # allowed: time-not-passed-in, a figure of this very machine
        age = MESSAGE_AGE.labels(self.name)
        decoded = []
        for raw in batch:
            context = context_of(raw)
            age.observe((now - context.received_at).total_seconds())
            try:
                if error := exhausted(raw.metadata):
                    raise error
                decoded.append((raw, Delivery(self._decode(raw.data, raw.subject), context)))
            except MessageInvalid as error:
                await _end([raw], error, publisher)
        return decoded

    async def _handle_all(self, batch: Sequence[tuple[Msg, Delivery]], publisher: JetStreamPublisher) -> None:
        if not batch:
            return
        try:
            with timed(MESSAGE_SECONDS, self.name):
                await self._handle([delivery for _, delivery in batch])
        except Exception as error:  # noqa: BLE001 - whatever it is, it is kept and logged
            if len(batch) == 1 or isinstance(error, TransientError):
                await _end([raw for raw, _ in batch], error, publisher)
                return
            for half in (batch[: len(batch) // 2], batch[len(batch) // 2 :]):
                await self._handle_all(half, publisher)
        else:
            MESSAGES.labels(self.name, "done").inc(len(batch))
            for raw, _ in batch:
                await raw.ack()


async def _end(batch: Sequence[Msg], error: Exception, publisher: JetStreamPublisher) -> None:
    for raw in batch:
        delay = await seconds_until_again(raw, error, publisher=publisher)
        await (raw.term() if delay is None else raw.nak(delay))

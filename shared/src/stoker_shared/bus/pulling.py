"""Pulling messages of one durable consumer: what comes while a batch is being handled makes the next batch.

The client's own `fetch` starts two tasks for each message and waits for a whole round trip between two batches.
Protocol: docs.nats.io, JetStream wire API, `$JS.API.CONSUMER.MSG.NEXT`.
"""

import asyncio
import contextlib
import json
from collections import deque
from datetime import timedelta
from uuid import uuid4

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError
from nats.js.api import Header, StatusCode

from stoker_shared.logging import get_logger
from stoker_shared.topology import ConsumerSpec

logger = get_logger(__name__)

MOST_BYTES_IN_BATCH = 1 << 20
MOST_BYTES_WAITING = 4 << 20
"""Of messages that are here and not taken. One message is at most 1 MB."""

EXPIRES = timedelta(seconds=30)
HEARTBEAT = timedelta(seconds=5)
_LOST_AFTER = 2.5 * HEARTBEAT
_PAUSE = timedelta(seconds=0.5)


class Pull:
    """Asks for messages, one request at a time, and keeps what comes until it is taken."""

    def __init__(self, spec: ConsumerSpec, *, limit: int) -> None:
        self._subject = f"$JS.API.CONSUMER.MSG.NEXT.{spec.stream}.{spec.name}"
        self._limit = limit
        self._arrived: deque[Msg] = deque()
        self._bytes = 0
        # What the request that is open asked for, and what it may still bring; 0: none is open.
        self._asked = self._expected = 0
        self._requests = 0
        self._not_before = 0.0
        self._wake = asyncio.Event()
        self._client: Client | None = None
        self._subscription: Subscription | None = None
        self._inbox = ""

    async def start(self, client: Client, *, inbox_prefix: str) -> None:
        """Subscribe to what is to come; the client subscribes again by itself after a reconnect."""
        self._client = client
        self._inbox = f"{inbox_prefix}.{uuid4().hex}"
        self._subscription = await client.subscribe(f"{self._inbox}.*", cb=self._receive)
        await self._ask()

    async def batch(self, *, not_before: float = 0.0) -> list[Msg]:
        """The oldest messages that are here, at most `limit`; waits until there is one. Empty after the stop.

        `not_before`: a moment of the loop's clock until which it waits for more, unless a whole batch is here.
        """
        while not self._arrived and self._subscription is not None:
            self._wake.clear()
            await self._ask()
            try:
                async with asyncio.timeout((_LOST_AFTER if self._expected else _PAUSE).total_seconds()):
                    await self._wake.wait()
            except TimeoutError:
                # A request that is open has a heartbeat. Without one nobody knows of it any more.
                self._expected = 0
        if not_before > asyncio.get_running_loop().time():
            await self._gather(not_before)
        taken = self._take()
        await self._ask()
        return taken

    async def _gather(self, end: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(end):
                while not self._has_whole_batch and self._subscription is not None:
                    self._wake.clear()
                    await self._wake.wait()

    @property
    def _has_whole_batch(self) -> bool:
        return len(self._arrived) >= self._limit or self._bytes >= MOST_BYTES_IN_BATCH

    def ask_again(self) -> None:
        """The connection was lost, and with it the request."""
        self._expected = 0
        self._wake.set()

    async def stop(self) -> list[Msg]:
        """Ask for nothing more. Returns what nobody has taken."""
        subscription, self._subscription = self._subscription, None
        left = list(self._arrived)
        self._arrived.clear()
        self._wake.set()
        if subscription is not None:
            await subscription.unsubscribe()
        return left

    def _take(self) -> list[Msg]:
        taken: list[Msg] = []
        size = 0
        while self._arrived and len(taken) < self._limit:
            size += len(self._arrived[0].data)
            if taken and size > MOST_BYTES_IN_BATCH:
                break
            taken.append(self._arrived.popleft())
        self._bytes = sum(len(message.data) for message in self._arrived)
        return taken

    @property
    def _answers(self) -> str:
        # Of each request alone: the broker may tell that one is over when the next is on its way already.
        return f"{self._inbox}.{self._requests}"

    async def _receive(self, message: Msg) -> None:
        if message.reply:
            self._arrived.append(message)
            self._bytes += len(message.data)
            self._expected = max(0, self._expected - 1)
        elif message.subject == self._answers:
            self._told(message.headers or {})
        self._wake.set()
        await self._ask()

    def _told(self, told: dict[str, str]) -> None:
        if told.get(Header.STATUS) == StatusCode.CONTROL_MESSAGE:  # a heartbeat
            return
        # It expired, or has brought as many bytes as it may. If it brought nothing, the broker may refuse each: no
        # such consumer, not yet up after its own start.
        if self._expected == self._asked and told.get(Header.STATUS) != StatusCode.REQUEST_TIMEOUT:
            self._not_before = asyncio.get_running_loop().time() + _PAUSE.total_seconds()
            logger.info("asking for messages is refused", subject=self._subject, answer=told.get(Header.DESCRIPTION))
        self._expected = 0

    async def _ask(self) -> None:
        client, room = self._client, self._limit - len(self._arrived)
        if self._expected or self._subscription is None or client is None or not client.is_connected:
            return
        if room <= 0 or self._bytes > MOST_BYTES_WAITING // 2 or asyncio.get_running_loop().time() < self._not_before:
            return
        self._asked = self._expected = room
        self._requests += 1
        wanted = {
            "batch": room,
            "max_bytes": MOST_BYTES_WAITING - self._bytes,
            "expires": _nanoseconds(EXPIRES),
            "idle_heartbeat": _nanoseconds(HEARTBEAT),
        }
        try:
            await client.publish(self._subject, json.dumps(wanted).encode(), self._answers)
        except NatsError as error:
            logger.warning("messages cannot be asked for", subject=self._subject, reason=type(error).__name__)
            self._expected = 0


def _nanoseconds(duration: timedelta) -> int:
    return duration // timedelta(microseconds=1) * 1000

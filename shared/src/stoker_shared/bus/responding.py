"""Answering requests on plain subscriptions: a framework's pipeline would cost more than most answers do."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from stoker_shared.logging import get_logger

logger = get_logger(__name__)

Respond = Callable[[Msg], Coroutine[Any, Any, None]]

CONCURRENT_ANSWERS = 32


@dataclass(frozen=True, slots=True)
class _Responder:
    subject: str
    queue: str
    respond: Respond


class Responders:
    """Every request gets a task of its own, up to a limit; the client alone would handle them one after the other."""

    def __init__(self) -> None:
        self._responders: list[_Responder] = []
        self._subscriptions: list[Subscription] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._places = asyncio.Semaphore(CONCURRENT_ANSWERS)

    def add(self, subject: str, *, queue: str, respond: Respond) -> None:
        """Register; takes effect at `start`."""
        self._responders.append(_Responder(subject, queue, respond))

    async def start(self, client: Client) -> None:
        """Subscribe. The client subscribes again by itself after a reconnect."""
        for responder in self._responders:
            callback = self._callback(responder)
            self._subscriptions.append(await client.subscribe(responder.subject, queue=responder.queue, cb=callback))

    async def stop(self, *, patience: float) -> None:
        """Take no new requests and let the running answers end."""
        for subscription in self._subscriptions:
            await subscription.unsubscribe()
        self._subscriptions.clear()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=patience)

    def _callback(self, responder: _Responder) -> Callable[[Msg], Awaitable[None]]:
        async def receive(message: Msg) -> None:
            await self._places.acquire()
            task = asyncio.create_task(responder.respond(message))
            self._tasks.add(task)
            task.add_done_callback(self._done)

        return receive

    def _done(self, task: asyncio.Task[None]) -> None:
        self._places.release()
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            # The asker sees a timeout; what it was stands here.
            logger.error("answer not sent", exc_info=error)

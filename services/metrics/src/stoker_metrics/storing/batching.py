"""Many messages, one transaction: what arrives while a batch is being stored makes the next batch."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from stoker_shared.errors import TransientError

ItemT = TypeVar("ItemT")


class Batcher(Generic[ItemT]):
    """Hands items to `flush` in batches, one batch at a time."""

    def __init__(self, flush: Callable[[Sequence[ItemT]], Awaitable[None]], *, limit: int) -> None:
        self._flush = flush
        self._limit = limit
        self._waiting: list[tuple[ItemT, asyncio.Future[None]]] = []
        self._draining: asyncio.Task[None] | None = None

    async def add(self, item: ItemT) -> None:
        """Return when the item is stored, or raise what it met."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, done))
        if self._draining is None or self._draining.done():
            self._draining = asyncio.create_task(self._drain())
        await done

    async def _drain(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting[: self._limit], self._waiting[self._limit :]
            await self._settle(batch)

    async def _settle(self, batch: Sequence[tuple[ItemT, asyncio.Future[None]]]) -> None:
        error = await self._attempt([item for item, _ in batch])
        if error is not None and len(batch) > 1 and not isinstance(error, TransientError):
            # One bad item must not take the others with it to the dead letters.
            for single in batch:
                await self._settle([single])
            return
        for _, done in batch:
            if done.done():  # whoever waited was cancelled
                continue
            if error is None:
                done.set_result(None)
            else:
                done.set_exception(error)

    async def _attempt(self, items: Sequence[ItemT]) -> Exception | None:
        try:
            await self._flush(items)
        except Exception as error:  # noqa: BLE001 - handed to whoever waits for the item
            return error
        return None

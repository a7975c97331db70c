"""Writing objects so that a crash at any point neither loses a wanted one nor leaves an unwanted one."""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy.ext.asyncio import AsyncSession

from stoker_dataset_gateway.errors import WriteLost
from stoker_dataset_gateway.objects.repository import ObjectWriteRepository
from stoker_dataset_gateway.storage import ObjectStore
from stoker_shared.clock import Clock
from stoker_shared.database import Database
from stoker_shared.errors import StokerError, TransientError
from stoker_shared.logging import get_logger
from stoker_shared.tasks import end_tasks

logger = get_logger(__name__)

_SWEEP_BATCH = 100


@dataclass
class ObjectWriting:
    """A write under way. `store` the bytes, then `keep` them in the transaction that gives them their row."""

    key: str
    _store: ObjectStore
    _rows: ObjectWriteRepository

    async def store(self, blocks: AsyncIterable[bytes], *, size_hint: int) -> None:
        """Stream the bytes in; whole or not at all."""
        await self._store.put(self.key, blocks, size_hint=size_hint)

    async def keep(self, session: AsyncSession) -> None:
        """From the commit of this transaction on the object stays.

        Raises:
            WriteLost: it was given up meanwhile; the transaction must not commit.
        """
        if not await self._rows.keep(session, self.key):
            raise WriteLost


class ObjectWriter:
    """Hands out writes and cleans up after those that did not end well."""

    def __init__(self, database: Database, store: ObjectStore, *, clock: Clock, lease: timedelta) -> None:
        self._database = database
        self._store = store
        self._clock = clock
        self._lease = lease
        self._rows = ObjectWriteRepository()

    @asynccontextmanager
    async def writing(self, *, key: str, purpose: str) -> AsyncIterator[ObjectWriting]:
        """A write of an object. If the block ends without `keep` committed, the object is deleted."""
        await self.open_write(key=key, purpose=purpose, lifetime=self._lease)
        renewing = asyncio.create_task(self._renew(key))
        try:
            yield ObjectWriting(key, self._store, self._rows)
        finally:
            await end_tasks([renewing])
            await self.discard(key)

    async def open_write(self, *, key: str, purpose: str, lifetime: timedelta) -> None:
        """A write that outlives this request: its object is swept unless it is `extend`ed or `keep_object`d in time."""
        async with self._database.transaction() as session:
            await self._rows.add(session, object_key=key, purpose=purpose, busy_until=self._clock.now() + lifetime)

    async def extend(self, session: AsyncSession, key: str, *, lifetime: timedelta) -> None:
        """Somebody still works on this write.

        Raises:
            WriteLost: it was given up meanwhile; the transaction must not commit.
        """
        if not await self._rows.renew(session, key, busy_until=self._clock.now() + lifetime):
            raise WriteLost

    async def keep_object(self, session: AsyncSession, key: str) -> None:
        """As `ObjectWriting.keep`, for a write made with `open_write`.

        Raises:
            WriteLost.
        """
        if not await self._rows.keep(session, key):
            raise WriteLost

    async def condemn(self, session: AsyncSession, key: str) -> None:
        """Nobody may keep this write any more. `discard` it after the commit."""
        await self._rows.condemn(session, key, now=self._clock.now())

    async def give_up(self, session: AsyncSession, key: str) -> None:
        """In the caller's transaction: nothing wants this object any more. `discard` it after the commit."""
        now = self._clock.now()
        await self._rows.add(session, object_key=key, purpose="deletion", busy_until=now)
        await session.flush()
        await self._rows.condemn(session, key, now=now)

    async def discard(self, object_key: str) -> None:
        """Delete an object that was not kept; one that was kept is left alone. What fails is left to `sweep`."""
        try:
            async with self._database.transaction() as session:
                is_unwanted = await self._rows.condemn(session, object_key, now=self._clock.now())
            if is_unwanted:
                await self._delete(object_key)
        except TransientError as error:
            logger.warning("object not deleted yet", object_key=object_key, reason=error.detail)

    async def sweep(self) -> int:
        """Delete what abandoned writes have left. Returns how many objects were looked at."""
        async with self._database.transaction() as session:
            keys = await self._rows.condemn_abandoned(session, now=self._clock.now(), limit=_SWEEP_BATCH)
        for key in keys:
            await self._delete(key)
        if keys:
            logger.info("abandoned writes cleaned up", count=len(keys))
        return len(keys)

    async def _renew(self, object_key: str) -> None:
        while True:
            await asyncio.sleep(self._lease.total_seconds() / 3)
            try:
                async with self._database.transaction() as session:
                    await self._rows.renew(session, object_key, busy_until=self._clock.now() + self._lease)
            except StokerError as error:
                # The lease outlives two failures; after that `keep` decides.
                logger.warning("write not renewed", object_key=object_key, reason=error.detail)

    async def _delete(self, key: str) -> None:
        await self._store.delete(key)
        async with self._database.transaction() as session:
            await self._rows.forget(session, key)

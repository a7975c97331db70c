"""Lines in order, wherever they are: rows in the database or chunks in the object store."""

import hashlib

from anyio import to_thread

from stoker_metrics.errors import ChunkDamaged
from stoker_metrics.keeping.tables import KeptAttempt
from stoker_metrics.lines.repository import LineRepository
from stoker_metrics.object_store import ObjectStore
from stoker_metrics.packing.chunk import unpack
from stoker_metrics.packing.repository import Chunk, PackingRepository
from stoker_shared.database import Database
from stoker_shared.rpc.metrics import Line


class LinePages:
    """Reads lines page by page."""

    def __init__(self, database: Database, store: ObjectStore) -> None:
        self._database = database
        self._store = store
        self._rows = LineRepository()
        self._chunks = PackingRepository()

    async def page(self, kept: KeptAttempt, *, after: int, limit: int) -> list[Line]:
        """The next lines after a sequence, from one place; none if there are none.

        Raises:
            ServiceUnavailable: database or store are away.
            ObjectGone: the lines have been dropped just now.
        """
        key = (kept.job_id, kept.attempt)
        async with self._database.transaction() as session:
            # Rows first: lines that are packed between the two looks are seen twice, and not missed.
            rows = await self._rows.page(session, key, day=kept.day, after=after, limit=limit)
            chunk = await self._chunks.next_chunk(session, key, after=after)
        if chunk is None:
            return rows
        if rows and rows[0].sequence < chunk.first_sequence:
            return [line for line in rows if line.sequence < chunk.first_sequence]
        return [line for line in await self._unpacked(chunk) if line.sequence > after][:limit]

    async def last(self, kept: KeptAttempt, *, count: int) -> list[Line]:
        """The last lines of an attempt, in order.

        Raises:
            ServiceUnavailable: database or store are away.
            ObjectGone: the lines have been dropped just now.
            ChunkDamaged: what the store gave is not what was packed.
        """
        found: list[Line] = []
        after = before_the_last(kept, count)
        while page := await self.page(kept, after=after, limit=count):
            found += page
            after = page[-1].sequence
        return found

    async def _unpacked(self, chunk: Chunk) -> list[Line]:
        content = await self._store.get(chunk.object_key)
        if hashlib.sha256(content).hexdigest() != chunk.sha256:
            raise ChunkDamaged(chunk.object_key)
        return await to_thread.run_sync(unpack, content)


def before_the_last(kept: KeptAttempt, count: int) -> int:
    """The sequence after which there are `count` lines: sequences count 1, 2, 3."""
    return max(0, min(kept.lines_seen, kept.lines_allowed) - count)

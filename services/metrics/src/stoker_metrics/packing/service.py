"""Packing lines: each line is a row or in a chunk that the store has given back, never both, never neither."""

from datetime import timedelta
from uuid import uuid4

from anyio import to_thread

from stoker_metrics.errors import ChunkDamaged, ObjectGone, PackedByAnother
from stoker_metrics.object_store import ObjectStore
from stoker_metrics.packing.chunk import MOST_LINES, Packed, next_run, pack, unpack
from stoker_metrics.packing.repository import Candidate, PackingRepository
from stoker_shared.clock import Clock
from stoker_shared.database import Database
from stoker_shared.logging import get_logger
from stoker_shared.rpc.metrics import Line

logger = get_logger(__name__)

WRITING_FOR = timedelta(hours=1)
"""Nobody writes one chunk for longer; what is older was left behind."""

_AT_ONCE = 100


class Packer:
    """Packs what is old enough, and deletes what was left behind or dropped."""

    def __init__(self, database: Database, store: ObjectStore, *, clock: Clock, pack_after: timedelta) -> None:
        self._database = database
        self._store = store
        self._clock = clock
        self._pack_after = pack_after
        self._rows = PackingRepository()

    async def sweep(self) -> int:
        """Pack all that may be packed now. Returns the number of new chunks.

        Raises:
            ServiceUnavailable: database or store are away; what was begun is begun anew later.
        """
        made, after = 0, ("", 0)
        while True:
            async with self._database.transaction() as session:
                candidates = await self._rows.candidates(session, after=after, limit=_AT_ONCE)
            if not candidates:
                break
            for candidate in candidates:
                made += await self._pack_attempt(candidate)
            after = candidates[-1].key
        await self.clean()
        return made

    async def clean(self) -> None:
        """Delete what was left behind or dropped: the row says so first, then the object goes, then the row."""
        async with self._database.transaction() as session:
            await self._rows.abandon(session, before=self._clock.now() - WRITING_FOR)
            dropped = await self._rows.dropped(session, limit=_AT_ONCE)
        for object_key in dropped:
            await self._store.delete(object_key)
            async with self._database.transaction() as session:
                await self._rows.forget(session, object_key=object_key)

    async def _pack_attempt(self, candidate: Candidate) -> int:
        made, after = 0, 0
        while True:
            async with self._database.transaction() as session:
                found = await self._rows.oldest(session, candidate, after=after)
            run = next_run(found)
            if not run or not self._is_due(candidate, run, is_cut=len(run) < len(found)):
                return made
            try:
                await self._write(candidate, await to_thread.run_sync(pack, run), run)
            except (ChunkDamaged, PackedByAnother) as error:
                # What is wrong with one attempt must not keep the others, which come after it in every sweep.
                job_id, attempt = candidate.key
                logger.warning("lines are not packed", job_id=job_id, attempt=attempt, reason=error.detail)
                return made
            made, after = made + 1, run[-1].sequence

    def _is_due(self, candidate: Candidate, run: list[Line], *, is_cut: bool) -> bool:
        # While the attempt goes on, small chunks would become many; a hole may still be filled.
        if candidate.is_over:
            return True
        is_old = run[-1].at < self._clock.now() - self._pack_after
        return is_old and (is_cut or len(run) == MOST_LINES)

    async def _write(self, candidate: Candidate, packed: Packed, run: list[Line]) -> None:
        job_id, attempt = candidate.key
        span = f"{packed.first_sequence:012d}-{packed.last_sequence:012d}"
        object_key = f"logs/{job_id}/{attempt}/{span}-{uuid4().hex[:12]}.jsonl.zst"
        async with self._database.transaction() as session:
            await self._rows.begin(session, candidate.key, packed, object_key=object_key, now=self._clock.now())
        await self._store.put(object_key, packed.content)
        await self._check(object_key, packed, run)
        async with self._database.transaction() as session:
            if not await self._rows.finish(session, candidate, packed, object_key=object_key):
                raise PackedByAnother(object_key)

    async def _check(self, object_key: str, packed: Packed, run: list[Line]) -> None:
        try:
            given_back = await self._store.get(object_key)
        except ObjectGone:
            raise ChunkDamaged(object_key) from None
        if given_back != packed.content or await to_thread.run_sync(unpack, given_back) != run:
            raise ChunkDamaged(object_key)

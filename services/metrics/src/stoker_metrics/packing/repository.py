"""SQL of packing: attempts with lines to pack, the index of chunks. In the caller's transaction."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from stoker_metrics.packing.chunk import MOST_LINES, Packed
from stoker_metrics.storing.schemas import AttemptKey
from stoker_shared.rpc.metrics import Line

_CANDIDATES = text("""
SELECT k.job_id, k.attempt, k.day, (r.revoked_at IS NOT NULL OR r.exit_facts IS NOT NULL) AS is_over
FROM kept_attempts k JOIN attempt_reports r USING (job_id, attempt)
WHERE k.lines_stored > k.lines_packed AND k.lines_dropped_at IS NULL
AND (k.job_id, k.attempt) > (:job_id, :attempt)
ORDER BY k.job_id, k.attempt LIMIT :limit
""")
_OLDEST = text("""
SELECT sequence, at, stream, text FROM log_lines
WHERE day = :day AND job_id = :job_id AND attempt = :attempt AND sequence > :after ORDER BY sequence LIMIT :limit
""")
_BEGIN = text("""
INSERT INTO log_chunks (object_key, job_id, attempt, first_sequence, last_sequence, first_at, last_at, streams,
                        text_bytes, stored_bytes, sha256, created_at, state)
VALUES (:object_key, :job_id, :attempt, :first_sequence, :last_sequence, :first_at, :last_at, :streams,
        :text_bytes, :stored_bytes, :sha256, :now, 'writing')
""")
_LOCK = text("SELECT 1 FROM attempt_reports WHERE job_id = :job_id AND attempt = :attempt FOR UPDATE")
_FINISH = text("""
UPDATE log_chunks SET state = 'stored' WHERE object_key = :object_key AND state = 'writing' RETURNING object_key
""")
_TAKE_ROWS = text("""
WITH gone AS (
    DELETE FROM log_lines
    WHERE day = :day AND job_id = :job_id AND attempt = :attempt AND sequence BETWEEN :first AND :last RETURNING 1)
SELECT count(*) FROM gone
""")
_COUNT = text("""
UPDATE kept_attempts SET lines_packed = lines_packed + :lines WHERE job_id = :job_id AND attempt = :attempt
""")
_ABANDON = text("""
UPDATE log_chunks SET state = 'dropped' WHERE state = 'writing' AND created_at < :before
""")
_DROPPED = text("SELECT object_key FROM log_chunks WHERE state = 'dropped' ORDER BY created_at LIMIT :limit")
_FORGET = text("DELETE FROM log_chunks WHERE object_key = :object_key AND state = 'dropped'")
_NEXT = text("""
SELECT object_key, first_sequence, last_sequence, sha256 FROM log_chunks
WHERE job_id = :job_id AND attempt = :attempt AND state = 'stored' AND last_sequence > :after
ORDER BY first_sequence LIMIT 1
""")


@dataclass(frozen=True, slots=True)
class Candidate:
    """An attempt with lines that are rows."""

    key: AttemptKey
    day: date
    is_over: bool


@dataclass(frozen=True, slots=True)
class Chunk:
    """A stored chunk."""

    object_key: str
    first_sequence: int
    last_sequence: int
    sha256: str


class PackingRepository:
    """Chunks and what may become one."""

    async def candidates(self, session: AsyncSession, *, after: AttemptKey, limit: int) -> list[Candidate]:
        """Attempts with lines that are rows, in order of their keys."""
        values = {"job_id": after[0], "attempt": after[1], "limit": limit}
        rows = (await session.execute(_CANDIDATES, values)).all()
        return [Candidate((row.job_id, row.attempt), row.day, row.is_over) for row in rows]

    async def oldest(self, session: AsyncSession, candidate: Candidate, *, after: int) -> Sequence[Line]:
        """The first rows after a sequence, as many as a chunk may have and one more, which shows whether there are."""
        values = {"day": candidate.day, **_of(candidate.key), "after": after, "limit": MOST_LINES + 1}
        return [Line(**row) for row in (await session.execute(_OLDEST, values)).mappings()]

    async def begin(
        self, session: AsyncSession, key: AttemptKey, packed: Packed, *, object_key: str, now: datetime
    ) -> None:
        """Note that an object is going to be written."""
        fields = ("first_sequence", "last_sequence", "first_at", "last_at", "streams", "text_bytes", "sha256")
        values = {name: getattr(packed, name) for name in fields}
        values |= {**_of(key), "object_key": object_key, "stored_bytes": len(packed.content), "now": now}
        await session.execute(_BEGIN, values)

    async def finish(self, session: AsyncSession, candidate: Candidate, packed: Packed, *, object_key: str) -> bool:
        """Take the rows away, now that the object is the truth. False: somebody else did; roll back."""
        await session.execute(_LOCK, _of(candidate.key))
        is_ours = (await session.execute(_FINISH, {"object_key": object_key})).first() is not None
        lines = packed.last_sequence - packed.first_sequence + 1
        taken = {"day": candidate.day, "first": packed.first_sequence, "last": packed.last_sequence}
        gone = (await session.execute(_TAKE_ROWS, taken | _of(candidate.key))).scalar_one()
        await session.execute(_COUNT, {"lines": lines, **_of(candidate.key)})
        return is_ours and gone == lines

    async def abandon(self, session: AsyncSession, *, before: datetime) -> None:
        """Give up what somebody began before this moment and never finished."""
        await session.execute(_ABANDON, {"before": before})

    async def dropped(self, session: AsyncSession, *, limit: int) -> list[str]:
        """Objects that are to be deleted."""
        return list((await session.execute(_DROPPED, {"limit": limit})).scalars())

    async def forget(self, session: AsyncSession, *, object_key: str) -> None:
        """Forget a chunk whose object has been deleted."""
        await session.execute(_FORGET, {"object_key": object_key})

    async def next_chunk(self, session: AsyncSession, key: AttemptKey, *, after: int) -> Chunk | None:
        """The first stored chunk with a line after a sequence."""
        row = (await session.execute(_NEXT, {**_of(key), "after": after})).first()
        return None if row is None else Chunk(*row)


def _of(key: AttemptKey) -> dict[str, object]:
    return {"job_id": key[0], "attempt": key[1]}

"""SQL of retention: days that are over, and dropping what was kept of them. In the caller's transaction."""

from datetime import date, datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from stoker_metrics.keeping.schemas import Kept
from stoker_metrics.keeping.tables import KeptAttempt
from stoker_metrics.storing.schemas import AttemptKey

_NOTED = {"points": "points_dropped_at", "levels": "levels_dropped_at", "lines": "lines_dropped_at"}
# An attempt that nobody has revoked is over when it has been silent for as long.
_OVER = """
SELECT k.day FROM kept_attempts k JOIN attempt_reports r USING (job_id, attempt)
GROUP BY k.day
HAVING bool_or(k.{noted} IS NULL)
AND max(greatest(coalesce(r.revoked_at, r.last_heard_at, r.admitted_at), r.last_heard_at)) < :ended_before
ORDER BY k.day
"""
_QUERIES = {what: text(_OVER.format(noted=noted)) for what, noted in _NOTED.items()}
_NOTE = {
    what: text(f"UPDATE kept_attempts SET {noted} = :now WHERE day = :day")  # noqa: S608 - our own names
    for what, noted in _NOTED.items()
}
_LOCKED = text("""
SELECT k.* FROM attempt_reports r JOIN kept_attempts k USING (job_id, attempt)
WHERE k.day = :day AND k.levelled_sequence < least(k.points_seen, k.points_allowed)
ORDER BY k.job_id, k.attempt FOR UPDATE OF r
""")
_LEVELLED = text("""
UPDATE kept_attempts SET levelled_sequence = :levelled WHERE job_id = :job_id AND attempt = :attempt
""")
_DROP_LEVELS = text("""
DELETE FROM point_buckets b USING kept_attempts k
WHERE k.day = :day AND b.job_id = k.job_id AND b.attempt = k.attempt
""")
_DROP_CHUNKS = text("""
UPDATE log_chunks c SET state = 'dropped' FROM kept_attempts k
WHERE k.day = :day AND c.job_id = k.job_id AND c.attempt = k.attempt AND c.state = 'stored'
""")
# Dropping locks the whole table for a moment. Who waits for that lock holds up everybody: better try again later.
_BRIEFLY = text("SET LOCAL lock_timeout = '2s'")


class DayRepository:
    """Days on which attempts were admitted."""

    async def over(self, session: AsyncSession, *, what: str, ended_before: datetime) -> list[date]:
        """Days whose attempts have all ended before a moment, and of which something has not been dropped."""
        return list((await session.execute(_QUERIES[what], {"ended_before": ended_before})).scalars())

    async def note(self, session: AsyncSession, day: date, *, what: str, now: datetime) -> None:
        """Note that it has been dropped."""
        await session.execute(_NOTE[what], {"day": day, "now": now})

    async def locked(self, session: AsyncSession, day: date) -> dict[AttemptKey, Kept]:
        """Lock and read the attempts of a day whose points are not all levelled."""
        rows = (await session.execute(_LOCKED, {"day": day})).mappings()
        found = [KeptAttempt(**row) for row in rows]
        return {
            (row.job_id, row.attempt): Kept(**{name: getattr(row, name) for name in Kept.__slots__}) for row in found
        }

    async def note_levelled(self, session: AsyncSession, key: AttemptKey, kept: Kept) -> None:
        """Note how far an attempt is levelled."""
        values = {"job_id": key[0], "attempt": key[1], "levelled": kept.levelled_sequence}
        await session.execute(_LEVELLED, values)

    async def drop_partition(self, session: AsyncSession, table: str, day: date) -> None:
        """Drop the rows of a day at once."""
        await session.execute(_BRIEFLY)
        await session.execute(text(f"DROP TABLE IF EXISTS {table}_{day:%Y%m%d}"))

    async def drop_levels(self, session: AsyncSession, day: date) -> None:
        """Delete the buckets of the day's attempts."""
        await session.execute(_DROP_LEVELS, {"day": day})

    async def drop_lines(self, session: AsyncSession, day: date) -> None:
        """Drop the day's rows, and have its chunks deleted."""
        await session.execute(_DROP_CHUNKS, {"day": day})
        await self.drop_partition(session, "log_lines", day)

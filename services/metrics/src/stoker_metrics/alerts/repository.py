"""SQL of alerts. In the caller's transaction."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from stoker_metrics.storing.schemas import AttemptKey
from stoker_shared.rpc.metrics import Alert, AlertFacts

AlertKey = tuple[str, int, int]

# What is there already takes no place a second time.
_STORE = text("""
WITH told AS (
    SELECT DISTINCT ON (job_id, attempt, sequence) *
    FROM unnest(CAST(:job_ids AS text[]), CAST(:attempts AS int[]), CAST(:sequences AS bigint[]),
                CAST(:ats AS timestamptz[]), CAST(:levels AS text[]), CAST(:codes AS text[]),
                CAST(:messages AS text[])) AS told (job_id, attempt, sequence, at, level, code, message)
), new AS (
    SELECT told.*, row_number() OVER (PARTITION BY job_id, level ORDER BY attempt, sequence) AS place
    FROM told
    WHERE NOT EXISTS (
        SELECT 1 FROM alerts a
        WHERE a.job_id = told.job_id AND a.attempt = told.attempt AND a.sequence = told.sequence
    )
), kept AS (
    SELECT job_id, level, count(*) AS count FROM alerts
    WHERE job_id = ANY(CAST(:job_ids AS text[])) GROUP BY job_id, level
)
INSERT INTO alerts (job_id, attempt, sequence, at, level, code, message)
SELECT new.job_id, new.attempt, new.sequence, new.at, new.level, new.code, new.message
FROM new LEFT JOIN kept USING (job_id, level)
WHERE new.place <= :most - coalesce(kept.count, 0)
ORDER BY new.job_id, new.attempt, new.sequence
ON CONFLICT DO NOTHING
RETURNING job_id, attempt, sequence
""")
_FULL = text("""
SELECT job_id, level FROM alerts WHERE job_id = ANY(CAST(:job_ids AS text[]))
GROUP BY job_id, level HAVING count(*) >= :most ORDER BY job_id, level
""")
_PAGE = text("""
SELECT attempt, sequence, at, level, code, message FROM alerts
WHERE job_id = :job_id AND (attempt, sequence) > (:after_attempt, :after_sequence)
ORDER BY attempt, sequence LIMIT :limit
""")
_NEWEST = text("""
SELECT job_id, attempt, sequence, at, level, code, message FROM alerts
WHERE job_id = :job_id AND attempt = :attempt ORDER BY sequence DESC LIMIT :limit
""")
_FORGET = text("""
WITH old AS (SELECT ctid FROM alerts WHERE at < :before ORDER BY at LIMIT :limit)
DELETE FROM alerts USING old WHERE alerts.ctid = old.ctid RETURNING 1
""")


class AlertRepository:
    """Alerts by job, attempt and sequence."""

    async def store(self, session: AsyncSession, alerts: Sequence[Alert], *, most: int) -> set[AlertKey]:
        """Store alerts, up to `most` of a level in a job; those there are stay as they are. Returns the new ones."""
        values = {
            "job_ids": [alert.job_id for alert in alerts],
            "attempts": [alert.attempt for alert in alerts],
            "sequences": [alert.sequence for alert in alerts],
            "ats": [alert.at for alert in alerts],
            "levels": [alert.level for alert in alerts],
            "codes": [alert.code for alert in alerts],
            "messages": [alert.message for alert in alerts],
            "most": most,
        }
        return {(row.job_id, row.attempt, row.sequence) for row in await session.execute(_STORE, values)}

    async def full(self, session: AsyncSession, job_ids: Sequence[str], *, most: int) -> list[tuple[str, str]]:
        """Jobs, each with a level of which it has as many as are kept."""
        rows = await session.execute(_FULL, {"job_ids": list(job_ids), "most": most})
        return [(row.job_id, row.level) for row in rows]

    async def page(self, session: AsyncSession, job_id: str, *, after: tuple[int, int], limit: int) -> list[AlertFacts]:
        """Alerts of a job in order of attempt and sequence, after a place."""
        values = {"job_id": job_id, "after_attempt": after[0], "after_sequence": after[1], "limit": limit}
        return [AlertFacts(**row) for row in (await session.execute(_PAGE, values)).mappings()]

    async def newest(self, session: AsyncSession, key: AttemptKey, *, limit: int) -> list[Alert]:
        """The last alerts of an attempt, in order."""
        values = {"job_id": key[0], "attempt": key[1], "limit": limit}
        rows = (await session.execute(_NEWEST, values)).mappings().all()
        return [Alert(**row) for row in reversed(rows)]

    async def forget(self, session: AsyncSession, *, before: datetime, limit: int) -> int:
        """Delete alerts that were raised before a moment, the oldest first. Returns how many."""
        return len((await session.execute(_FORGET, {"before": before, "limit": limit})).all())

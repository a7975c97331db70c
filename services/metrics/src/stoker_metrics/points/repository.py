"""SQL of metric points."""

from collections.abc import Sequence

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from stoker_metrics.pages import MAX_PAGE_BYTES
from stoker_shared.rpc.metrics import MetricsBatch, Point

_STORE = text("""
INSERT INTO points (job_id, attempt, sequence, step, at, values)
SELECT job_id, attempt, sequence, step, at, values::jsonb
FROM unnest(CAST(:job_ids AS text[]), CAST(:attempts AS int[]), CAST(:sequences AS bigint[]), CAST(:steps AS bigint[]),
            CAST(:ats AS timestamptz[]), CAST(:values AS text[])) AS new (job_id, attempt, sequence, step, at, values)
ORDER BY job_id, attempt, sequence
ON CONFLICT DO NOTHING
""")
_LATEST = text("SELECT max(attempt) FROM points WHERE job_id = :job_id")
_PAGE = text("""
SELECT sequence, step, at, values FROM (
    SELECT *, sum(octet_length(values::text) + 100) OVER (ORDER BY sequence) - octet_length(values::text) AS before
    FROM points WHERE job_id = :job_id AND attempt = :attempt AND sequence > :after
    ORDER BY sequence LIMIT :limit) AS page
WHERE before < :bytes ORDER BY sequence
""")


class PointRepository:
    """Metric points."""

    async def store(self, session: AsyncSession, batches: Sequence[MetricsBatch]) -> None:
        """Store points; those that are there already stay as they are."""
        rows = [(batch, point) for batch in batches for point in batch.points]
        if not rows:
            return
        await session.execute(
            _STORE,
            {
                "job_ids": [batch.job_id for batch, _ in rows],
                "attempts": [batch.attempt for batch, _ in rows],
                "sequences": [point.sequence for _, point in rows],
                "steps": [point.step for _, point in rows],
                "ats": [point.at for _, point in rows],
                "values": [values_json(point) for _, point in rows],
            },
        )

    async def latest_attempt(self, session: AsyncSession, *, job_id: str) -> int | None:
        """The latest attempt that has any."""
        return (await session.execute(_LATEST, {"job_id": job_id})).scalar()

    async def page(self, session: AsyncSession, *, job_id: str, attempt: int, after: int, limit: int) -> list[Point]:
        """Points after a sequence, in order; fewer than `limit` if they would be too many bytes."""
        values = {"job_id": job_id, "attempt": attempt, "after": after, "limit": limit, "bytes": MAX_PAGE_BYTES}
        return [Point(**row) for row in (await session.execute(_PAGE, values)).mappings()]


def values_json(point: Point) -> str:
    """The values as JSON text."""
    return point.model_dump_json(include={"values"})[len('{"values":') : -1]

"""SQL of charts: reading levels. In the caller's transaction."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from stoker_metrics.points.buckets import ALL, WIDTHS, Bucket, Place
from stoker_metrics.storing.schemas import AttemptKey
from stoker_shared.rpc.series import RunLatest

# One row for each metric: arrays travel and decode far quicker than rows.
_BUCKETS = text("""
SELECT metric, array_agg(number ORDER BY number) AS number, array_agg(first_step ORDER BY number) AS first_step,
       array_agg(last_step ORDER BY number) AS last_step, array_agg(last_sequence ORDER BY number) AS last_sequence,
       array_agg(minimum ORDER BY number) AS minimum, array_agg(maximum ORDER BY number) AS maximum,
       array_agg(last ORDER BY number) AS last, array_agg(count ORDER BY number) AS count,
       array_agg(gaps ORDER BY number) AS gaps
FROM point_buckets
WHERE job_id = :job_id AND attempt = :attempt AND width = :width AND metric = ANY (CAST(:metrics AS text[]))
AND number BETWEEN :first AND :last AND last_step >= :first_step AND first_step <= :last_step
GROUP BY metric
""")
_SPAN = text("""
SELECT min(number) AS first, max(number) AS last FROM point_buckets
WHERE job_id = :job_id AND attempt = :attempt AND width = :width AND metric = :metric
AND number BETWEEN :first AND :last AND last_step >= :first_step AND first_step <= :last_step
""")
# The coarsest level has a row for each metric and 65,536 points.
_METRICS = text("""
SELECT DISTINCT metric FROM point_buckets
WHERE job_id = :job_id AND attempt = :attempt AND width = :width AND metric <> :all ORDER BY metric
""")
_LATEST = text("""
SELECT attempt, step, total_steps, latest_values FROM attempt_reports
WHERE job_id = :job_id AND attempt = coalesce(CAST(:attempt AS int), attempt)
AND (point_sequence > 0 OR CAST(:attempt AS int) IS NOT NULL)
ORDER BY attempt DESC LIMIT 1
""")


@dataclass(frozen=True, slots=True)
class Window:
    """A range of sequences and of steps, both ends counted."""

    first: int
    last: int
    first_step: int
    last_step: int


class ChartRepository:
    """Levels."""

    async def buckets(
        self, session: AsyncSession, key: AttemptKey, *, width: int, metrics: Sequence[str], window: Window
    ) -> dict[Place, Bucket]:
        """Buckets of one level that touch a window."""
        rows = await session.execute(_BUCKETS, _values(key, width, window) | {"metrics": list(metrics)})
        return {
            (row.metric, number): Bucket(*fields)
            for row in rows.all()
            for number, *fields in zip(
                row.number,
                *(getattr(row, f"{name}") if name != "count" else row[8] for name in Bucket.__dataclass_fields__),
                strict=True,
            )
        }

    async def span(
        self, session: AsyncSession, key: AttemptKey, *, width: int, window: Window
    ) -> tuple[int, int] | None:
        """First and last bucket of one level that touch a window, whatever the metrics."""
        row = (await session.execute(_SPAN, _values(key, width, window) | {"metric": ALL})).one()
        return None if row.first is None else (row.first, row.last)

    async def metrics(self, session: AsyncSession, key: AttemptKey) -> list[str]:
        """Names of all metrics that have been levelled."""
        values = {"job_id": key[0], "attempt": key[1], "width": WIDTHS[-1], "all": ALL}
        return list((await session.execute(_METRICS, values)).scalars())

    async def latest(self, session: AsyncSession, *, job_id: str, attempt: int | None) -> RunLatest:
        """The newest values of an attempt, or of the latest that has any."""
        row = (await session.execute(_LATEST, {"job_id": job_id, "attempt": attempt})).first()
        if row is None:
            return RunLatest(job_id=job_id, attempt=0, step=0, total_steps=0, values={})
        return RunLatest(
            job_id=job_id, attempt=row.attempt, step=row.step, total_steps=row.total_steps, values=row.latest_values
        )


def _values(key: AttemptKey, width: int, window: Window) -> dict[str, object]:
    return {
        "job_id": key[0],
        "attempt": key[1],
        "width": width,
        "first": (window.first - 1) // width,
        "last": (window.last - 1) // width,
        "first_step": window.first_step,
        "last_step": window.last_step,
    }

"""SQL of metric points and their levels. In the caller's transaction."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from pydantic_core import to_json
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from stoker_metrics.pages import MAX_PAGE_BYTES
from stoker_metrics.points.buckets import Bucket, Measured, Place
from stoker_metrics.storing.schemas import AttemptKey
from stoker_shared.database import copy_rows
from stoker_shared.rpc.metrics import Point

COPY_FROM = 1000
"""Rows from which on COPY into a staging table is quicker than arrays in the statement: docs/decisions."""

_COLUMNS = ("day", "job_id", "attempt", "sequence", "step", "at", "values")
_STAGE = text("""
CREATE TEMPORARY TABLE IF NOT EXISTS incoming_points (
    day date, job_id text, attempt int, sequence bigint, step bigint, at timestamptz, values text
) ON COMMIT DELETE ROWS
""")
_ARRAYS = """unnest(CAST(:day AS date[]), CAST(:job_id AS text[]), CAST(:attempt AS int[]), CAST(:sequence AS bigint[]),
            CAST(:step AS bigint[]), CAST(:at AS timestamptz[]), CAST(:values AS text[]))
     AS new (day, job_id, attempt, sequence, step, at, values)"""
_INSERT = """
WITH stored AS (
    INSERT INTO points (day, job_id, attempt, sequence, step, at, values)
    SELECT day, job_id, attempt, sequence, step, at, values::jsonb FROM {source}
    ORDER BY job_id, attempt, sequence
    ON CONFLICT DO NOTHING
    RETURNING job_id, attempt, sequence)
SELECT job_id, attempt, count(*) AS count,
       coalesce(array_agg(sequence) FILTER (WHERE sequence <= levelled), '{{}}') AS late
FROM stored
JOIN unnest(CAST(:known_jobs AS text[]), CAST(:known_attempts AS int[]), CAST(:levelled AS bigint[]))
     AS known (job_id, attempt, levelled) USING (job_id, attempt)
GROUP BY job_id, attempt
"""
_FROM_ARRAYS = text(_INSERT.format(source=_ARRAYS))
_FROM_STAGE = text(_INSERT.format(source="incoming_points"))
_PAGE = text("""
SELECT sequence, step, at, values FROM (
    SELECT *, sum(octet_length(values::text) + 100) OVER (ORDER BY sequence) - octet_length(values::text) AS before
    FROM points WHERE day = :day AND job_id = :job_id AND attempt = :attempt AND sequence > :after
    AND step BETWEEN :first_step AND :last_step
    ORDER BY sequence LIMIT :limit) AS page
WHERE before < :bytes ORDER BY sequence
""")
_RANGE = text("""
SELECT sequence, step, values FROM points
WHERE day = :day AND job_id = :job_id AND attempt = :attempt AND sequence BETWEEN :first AND :last
ORDER BY sequence
""")
_MERGE = text("""
INSERT INTO point_buckets AS known (job_id, attempt, width, metric, number, first_step, last_step, last_sequence,
                                    minimum, maximum, last, count, gaps)
SELECT :job_id, :attempt, new.*
FROM unnest(CAST(:width AS int[]), CAST(:metric AS text[]), CAST(:number AS bigint[]), CAST(:first_step AS bigint[]),
            CAST(:last_step AS bigint[]), CAST(:last_sequence AS bigint[]), CAST(:minimum AS float8[]),
            CAST(:maximum AS float8[]), CAST(:last AS float8[]), CAST(:count AS bigint[]), CAST(:gaps AS bigint[]))
     AS new
ON CONFLICT (job_id, attempt, width, metric, number) DO UPDATE
SET first_step = least(known.first_step, excluded.first_step),
    last_step = greatest(known.last_step, excluded.last_step),
    last_sequence = greatest(known.last_sequence, excluded.last_sequence),
    minimum = least(known.minimum, excluded.minimum),
    maximum = greatest(known.maximum, excluded.maximum),
    last = CASE WHEN excluded.last_sequence > known.last_sequence THEN excluded.last ELSE known.last END,
    count = known.count + excluded.count,
    gaps = known.gaps + excluded.gaps
""")


@dataclass(frozen=True, slots=True)
class StoredPoints:
    """What was new of an attempt's points. `late`: sequences that lie where points are levelled already."""

    count: int
    late: frozenset[int]


class PointRepository:
    """Metric points."""

    async def store(
        self,
        session: AsyncSession,
        points: Mapping[AttemptKey, Sequence[Point]],
        *,
        days: Mapping[AttemptKey, date],
        levelled: Mapping[AttemptKey, int],
    ) -> dict[AttemptKey, StoredPoints]:
        """Store points; those that are there already stay as they are. Returns what was new."""
        rows = [
            (days[key], *key, point.sequence, point.step, point.at, values_json(point))
            for key in points
            for point in points[key]
        ]
        if not rows:
            return {}
        keys = list(points)
        known = {
            "known_jobs": [job_id for job_id, _ in keys],
            "known_attempts": [attempt for _, attempt in keys],
            "levelled": [levelled[key] for key in keys],
        }
        if len(rows) < COPY_FROM:
            columns = zip(*rows, strict=True)
            found = await session.execute(
                _FROM_ARRAYS, known | {name: list(column) for name, column in zip(_COLUMNS, columns, strict=True)}
            )
        else:
            await session.execute(_STAGE)
            await copy_rows(session, "incoming_points", columns=_COLUMNS, rows=rows)
            found = await session.execute(_FROM_STAGE, known)
        return {(row.job_id, row.attempt): StoredPoints(row[2], frozenset(row.late)) for row in found.all()}

    async def merge(self, session: AsyncSession, key: AttemptKey, levels: Mapping[int, Mapping[Place, Bucket]]) -> None:
        """Add buckets to the stored ones."""
        rows = [(width, *place, bucket) for width, found in levels.items() for place, bucket in sorted(found.items())]
        values: dict[str, object] = {
            name: [getattr(bucket, name) for *_, bucket in rows] for name in Bucket.__dataclass_fields__
        }
        values |= {"width": [row[0] for row in rows], "metric": [row[1] for row in rows]}
        values |= {"number": [row[2] for row in rows], "job_id": key[0], "attempt": key[1]}
        if rows:
            await session.execute(_MERGE, values)

    async def between(
        self, session: AsyncSession, key: AttemptKey, *, day: date, first: int, last: int
    ) -> list[Measured]:
        """Points whose sequences lie in a range, both ends counted."""
        values = {"day": day, "job_id": key[0], "attempt": key[1], "first": first, "last": last}
        return [Measured(*row) for row in (await session.execute(_RANGE, values)).all()]

    async def page(
        self, session: AsyncSession, key: AttemptKey, *, day: date, after: int, limit: int, steps: tuple[int, int]
    ) -> list[Point]:
        """Points after a sequence in a range of steps, in order; fewer than `limit` if they would be too many bytes."""
        values = {"day": day, "job_id": key[0], "attempt": key[1], "after": after, "limit": limit}
        values |= {"first_step": steps[0], "last_step": steps[1], "bytes": MAX_PAGE_BYTES}
        return [Point(**row) for row in (await session.execute(_PAGE, values)).mappings()]


def values_json(point: Point) -> str:
    """The values as JSON text."""
    return to_json(point.values, inf_nan_mode="null").decode()

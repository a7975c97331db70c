"""SQL of what is kept: the rows of attempts and the partitions of points and lines. In the caller's transaction."""

from collections.abc import Iterable, Mapping
from dataclasses import fields
from datetime import date

from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncSession

from stoker_metrics.keeping.schemas import Caps, Kept
from stoker_metrics.keeping.tables import KeptAttempt
from stoker_metrics.storing.schemas import AttemptKey

PARTITIONED = ("points", "log_lines")
"""Tables that are cut by the day on which an attempt was admitted."""

_FIELDS = tuple(field.name for field in fields(Kept))
# What is left for a new attempt is what its job's other attempts have not used.
_READ = text("""
SELECT r.job_id AS asked_job, r.attempt AS asked_attempt, (r.admitted_at AT TIME ZONE 'UTC')::date AS admitted_on, k.*,
       used.points AS used_points, used.lines AS used_lines, used.bytes AS used_bytes
FROM unnest(CAST(:job_ids AS text[]), CAST(:attempts AS int[])) AS asked (job_id, attempt)
JOIN attempt_reports r USING (job_id, attempt)
LEFT JOIN kept_attempts k ON k.job_id = r.job_id AND k.attempt = r.attempt
CROSS JOIN LATERAL (
    SELECT coalesce(sum(points_stored), 0)::bigint AS points, coalesce(sum(lines_stored), 0)::bigint AS lines,
           coalesce(sum(log_bytes), 0)::bigint AS bytes
    FROM kept_attempts other WHERE k.job_id IS NULL AND other.job_id = r.job_id) AS used
WHERE r.admitted_at IS NOT NULL
""")
_WRITE = text(f"""
INSERT INTO kept_attempts (job_id, attempt, {", ".join(_FIELDS)})
VALUES (:job_id, :attempt, {", ".join(f":{name}" for name in _FIELDS)})
ON CONFLICT (job_id, attempt) DO UPDATE SET {", ".join(f"{name} = excluded.{name}" for name in _FIELDS)}
""")  # noqa: S608 - names of our own fields
_FIND = """
SELECT * FROM kept_attempts
WHERE job_id = :job_id AND attempt = coalesce(CAST(:attempt AS int), attempt) AND {seen} > 0
ORDER BY attempt DESC LIMIT 1
"""
_WITH_POINTS, _WITH_LINES = (text(_FIND.format(seen=seen)) for seen in ("points_seen", "lines_seen"))
_MISSING = text("""
SELECT wanted.name, wanted.parent, wanted.day
FROM (SELECT parent || '_' || to_char(day, 'YYYYMMDD') AS name, parent, day
      FROM unnest(CAST(:parents AS text[])) AS parent, unnest(CAST(:days AS date[])) AS day) AS wanted
WHERE to_regclass(wanted.name) IS NULL
ORDER BY wanted.name
""")
_ONE_AT_A_TIME = text("SELECT pg_advisory_xact_lock(hashtext('stoker metrics partitions'))")


class KeptRepository:
    """What is kept of attempts."""

    async def read(self, session: AsyncSession, keys: Iterable[AttemptKey], *, caps: Caps) -> dict[AttemptKey, Kept]:
        """What is kept of these attempts; one that is not known yet gets what is left of its job's caps."""
        wanted = sorted(keys)
        values = {"job_ids": [job_id for job_id, _ in wanted], "attempts": [attempt for _, attempt in wanted]}
        rows = (await session.execute(_READ, values)).mappings()
        return {(row["asked_job"], row["asked_attempt"]): _kept(dict(row), caps) for row in rows}

    async def with_points(self, session: AsyncSession, *, job_id: str, attempt: int | None) -> KeptAttempt | None:
        """The attempt, or the latest one, if it has sent points."""
        return await _find(session, _WITH_POINTS, job_id, attempt)

    async def with_lines(self, session: AsyncSession, *, job_id: str, attempt: int | None) -> KeptAttempt | None:
        """The attempt, or the latest one, if it has sent lines."""
        return await _find(session, _WITH_LINES, job_id, attempt)

    async def write(self, session: AsyncSession, changed: Mapping[AttemptKey, Kept]) -> None:
        """Write what is kept now."""
        if changed:
            await session.execute(_WRITE, [_columns(key, changed[key]) for key in sorted(changed)])

    async def ensure_partitions(self, session: AsyncSession, days: Iterable[date]) -> None:
        """Make the partitions of these days that are not there.

        Made apart and attached, which locks out nobody who stores; a partition made in place would.
        """
        values = {"parents": list(PARTITIONED), "days": sorted(set(days))}
        if not (await session.execute(_MISSING, values)).first():
            return
        await session.execute(_ONE_AT_A_TIME)
        for row in (await session.execute(_MISSING, values)).all():
            await session.execute(text(f"CREATE TABLE {row.name} (LIKE {row.parent} INCLUDING ALL)"))
            attach = f"ALTER TABLE {row.parent} ATTACH PARTITION {row.name} FOR VALUES IN ('{row.day.isoformat()}')"
            await session.execute(text(attach))


async def _find(session: AsyncSession, query: TextClause, job_id: str, attempt: int | None) -> KeptAttempt | None:
    row = (await session.execute(query, {"job_id": job_id, "attempt": attempt})).mappings().first()
    return None if row is None else KeptAttempt(**row)


def _kept(row: dict[str, object], caps: Caps) -> Kept:
    if row["day"] is not None:
        return Kept(**{name: row[name] for name in _FIELDS})  # type: ignore[arg-type]
    used_points, used_lines, used_bytes = (int(str(row[f"used_{name}"])) for name in ("points", "lines", "bytes"))
    return Kept(
        day=row["admitted_on"],  # type: ignore[arg-type]
        points_allowed=max(0, caps.points - used_points),
        lines_allowed=max(0, caps.lines - used_lines),
        log_bytes_allowed=max(0, caps.log_bytes - used_bytes),
    )


def _columns(key: AttemptKey, kept: Kept) -> dict[str, object]:
    return {"job_id": key[0], "attempt": key[1], **{name: getattr(kept, name) for name in _FIELDS}}

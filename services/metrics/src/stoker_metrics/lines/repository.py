"""SQL of log lines that are rows. In the caller's transaction."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from stoker_metrics.pages import MAX_PAGE_BYTES
from stoker_metrics.storing.schemas import AttemptKey
from stoker_shared.database import copy_rows
from stoker_shared.rpc.metrics import Line

COPY_FROM = 1000
"""As for points."""

_COLUMNS = ("day", "job_id", "attempt", "sequence", "at", "stream", "text")
_STAGE = text("""
CREATE TEMPORARY TABLE IF NOT EXISTS incoming_lines (
    day date, job_id text, attempt int, sequence bigint, at timestamptz, stream text, text text
) ON COMMIT DELETE ROWS
""")
_ARRAYS = """unnest(CAST(:day AS date[]), CAST(:job_id AS text[]), CAST(:attempt AS int[]), CAST(:sequence AS bigint[]),
            CAST(:at AS timestamptz[]), CAST(:stream AS text[]), CAST(:text AS text[]))
     AS new (day, job_id, attempt, sequence, at, stream, text)"""
# A line that comes again after its row was packed into a chunk must not become a row again.
_INSERT = """
WITH stored AS (
    INSERT INTO log_lines (day, job_id, attempt, sequence, at, stream, text)
    SELECT day, job_id, attempt, sequence, at, stream, text FROM {source}
    WHERE NOT EXISTS (
        SELECT FROM log_chunks c
        WHERE c.job_id = new.job_id AND c.attempt = new.attempt AND c.state = 'stored'
        AND new.sequence BETWEEN c.first_sequence AND c.last_sequence)
    ORDER BY job_id, attempt, sequence
    ON CONFLICT DO NOTHING
    RETURNING job_id, attempt, octet_length(text) AS bytes)
SELECT job_id, attempt, count(*) AS lines, sum(bytes)::bigint AS bytes FROM stored GROUP BY job_id, attempt
"""
_FROM_ARRAYS = text(_INSERT.format(source=_ARRAYS))
_FROM_STAGE = text(_INSERT.format(source="incoming_lines AS new"))
_PAGE = text("""
SELECT sequence, at, stream, text FROM (
    SELECT *, sum(octet_length(text) + 100) OVER (ORDER BY sequence) - octet_length(text) AS before
    FROM log_lines WHERE day = :day AND job_id = :job_id AND attempt = :attempt AND sequence > :after
    ORDER BY sequence LIMIT :limit) AS page
WHERE before < :bytes ORDER BY sequence
""")


@dataclass(frozen=True, slots=True)
class StoredLines:
    """What was new of an attempt's lines."""

    count: int
    bytes: int


class LineRepository:
    """Log lines that are rows."""

    async def store(
        self, session: AsyncSession, lines: Mapping[AttemptKey, Sequence[Line]], *, days: Mapping[AttemptKey, date]
    ) -> dict[AttemptKey, StoredLines]:
        """Store lines; those that are there already stay as they are. Returns what was new."""
        rows = [
            (days[key], *key, line.sequence, line.at, line.stream, line.text) for key in lines for line in lines[key]
        ]
        if not rows:
            return {}
        if len(rows) < COPY_FROM:
            columns = zip(_COLUMNS, zip(*rows, strict=True), strict=True)
            found = await session.execute(_FROM_ARRAYS, {name: list(column) for name, column in columns})
        else:
            await session.execute(_STAGE)
            await copy_rows(session, "incoming_lines", columns=_COLUMNS, rows=rows)
            found = await session.execute(_FROM_STAGE)
        return {(row.job_id, row.attempt): StoredLines(row.lines, row.bytes) for row in found.all()}

    async def page(self, session: AsyncSession, key: AttemptKey, *, day: date, after: int, limit: int) -> list[Line]:
        """Lines after a sequence, in order; fewer than `limit` if they would be too many bytes."""
        values = {"day": day, "job_id": key[0], "attempt": key[1], "after": after, "limit": limit}
        values |= {"bytes": MAX_PAGE_BYTES}
        return [Line(**row) for row in (await session.execute(_PAGE, values)).mappings()]

"""SQL of log lines."""

from collections.abc import Sequence

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from stoker_metrics.pages import MAX_PAGE_BYTES
from stoker_shared.rpc.metrics import Line, LogBatch

_STORE = text("""
INSERT INTO log_lines (job_id, attempt, sequence, at, stream, text)
SELECT * FROM unnest(CAST(:job_ids AS text[]), CAST(:attempts AS int[]), CAST(:sequences AS bigint[]),
                     CAST(:ats AS timestamptz[]), CAST(:streams AS text[]), CAST(:texts AS text[]))
              AS new (job_id, attempt, sequence, at, stream, text)
ORDER BY job_id, attempt, sequence
ON CONFLICT DO NOTHING
""")
_LATEST = text("SELECT max(attempt) FROM log_lines WHERE job_id = :job_id")
_PAGE = text("""
SELECT sequence, at, stream, text FROM (
    SELECT *, sum(octet_length(text) + 100) OVER (ORDER BY sequence) - octet_length(text) AS before
    FROM log_lines WHERE job_id = :job_id AND attempt = :attempt AND sequence > :after
    ORDER BY sequence LIMIT :limit) AS page
WHERE before < :bytes ORDER BY sequence
""")


class LineRepository:
    """Log lines."""

    async def store(self, session: AsyncSession, batches: Sequence[LogBatch]) -> None:
        """Store lines; those that are there already stay as they are."""
        rows = [(batch, line) for batch in batches for line in batch.lines]
        if not rows:
            return
        await session.execute(
            _STORE,
            {
                "job_ids": [batch.job_id for batch, _ in rows],
                "attempts": [batch.attempt for batch, _ in rows],
                "sequences": [line.sequence for _, line in rows],
                "ats": [line.at for _, line in rows],
                "streams": [line.stream for _, line in rows],
                "texts": [line.text for _, line in rows],
            },
        )

    async def latest_attempt(self, session: AsyncSession, *, job_id: str) -> int | None:
        """The latest attempt that has any."""
        return (await session.execute(_LATEST, {"job_id": job_id})).scalar()

    async def page(self, session: AsyncSession, *, job_id: str, attempt: int, after: int, limit: int) -> list[Line]:
        """Lines after a sequence, in order; fewer than `limit` if they would be too many bytes."""
        values = {"job_id": job_id, "attempt": attempt, "after": after, "limit": limit, "bytes": MAX_PAGE_BYTES}
        return [Line(**row) for row in (await session.execute(_PAGE, values)).mappings()]

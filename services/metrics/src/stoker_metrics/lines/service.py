"""Log lines for those who may see them."""

from stoker_metrics.attempts.service import Attempts
from stoker_metrics.keeping.repository import KeptRepository
from stoker_metrics.keeping.tables import KeptAttempt
from stoker_metrics.lines.repository import LineRepository
from stoker_metrics.pages import fitting
from stoker_shared.database import Database
from stoker_shared.rpc.metrics import Lines, LinesNotKept, LinesQuery


class LineReader:
    """Answers `lines`."""

    def __init__(self, database: Database, *, attempts: Attempts) -> None:
        self._database = database
        self._attempts = attempts
        self._kept = KeptRepository()
        self._rows = LineRepository()

    async def lines(self, query: LinesQuery) -> Lines:
        """Lines of one attempt in order. No attempt yet: attempt 0, no lines. An empty page is the end.

        Raises:
            NotFound: the job is somebody else's.
        """
        await self._attempts.check_owner(job_id=query.job_id, owner=query.owner)
        async with self._database.transaction() as session:
            kept = await self._kept.with_lines(session, job_id=query.job_id, attempt=query.attempt)
            if kept is None:
                return Lines(attempt=query.attempt or 0, lines=[])
            page = await self._rows.page(
                session, (query.job_id, kept.attempt), day=kept.day, after=query.after_sequence, limit=query.limit
            )
        return Lines(attempt=kept.attempt, lines=fitting(page), not_kept=_not_kept(kept))


def _not_kept(kept: KeptAttempt) -> LinesNotKept | None:
    over = kept.lines_seen - kept.lines_allowed
    if over <= 0 or kept.lines_capped_by is None:
        return None
    return LinesNotKept(after_sequence=kept.lines_allowed, lines=over, capped_by=kept.lines_capped_by)

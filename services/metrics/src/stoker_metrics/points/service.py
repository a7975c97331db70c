"""Metric points for those who may see them."""

from stoker_metrics.attempts.service import Attempts
from stoker_metrics.keeping.repository import KeptRepository
from stoker_metrics.pages import fitting
from stoker_metrics.points.repository import PointRepository
from stoker_shared.database import Database
from stoker_shared.rpc.metrics import Points, PointsQuery


class PointReader:
    """Answers `points`."""

    def __init__(self, database: Database, *, attempts: Attempts) -> None:
        self._database = database
        self._attempts = attempts
        self._kept = KeptRepository()
        self._rows = PointRepository()

    async def points(self, query: PointsQuery) -> Points:
        """Points of one attempt in order. No attempt yet: attempt 0, no points. An empty page is the end.

        Raises:
            NotFound: the job is somebody else's.
        """
        await self._attempts.check_owner(job_id=query.job_id, owner=query.owner)
        async with self._database.transaction() as session:
            kept = await self._kept.with_points(session, job_id=query.job_id, attempt=query.attempt)
            if kept is None:
                return Points(attempt=query.attempt or 0, points=[])
            page = await self._rows.page(
                session,
                (query.job_id, kept.attempt),
                day=kept.day,
                after=query.after_sequence,
                limit=query.limit,
                steps=(query.first_step, query.last_step),
            )
        return Points(
            attempt=kept.attempt, points=fitting(page), not_kept=max(0, kept.points_seen - kept.points_allowed)
        )

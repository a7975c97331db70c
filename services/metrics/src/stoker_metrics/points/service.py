"""Metric points for those who may see them."""

from stoker_metrics.attempts.service import Attempts
from stoker_metrics.pages import fitting
from stoker_metrics.points.repository import PointRepository
from stoker_shared.database import Database
from stoker_shared.rpc.metrics import Points, PointsQuery


class PointReader:
    """Answers `points`."""

    def __init__(self, database: Database, *, attempts: Attempts) -> None:
        self._database = database
        self._attempts = attempts
        self._rows = PointRepository()

    async def points(self, query: PointsQuery) -> Points:
        """Points of one attempt in order. No attempt yet: attempt 0, no points. An empty page is the end.

        Raises:
            NotFound: the job is somebody else's.
        """
        await self._attempts.check_owner(job_id=query.job_id, owner=query.owner)
        async with self._database.transaction() as session:
            attempt = query.attempt
            if attempt is None:
                attempt = await self._rows.latest_attempt(session, job_id=query.job_id) or 0
            page = await self._rows.page(
                session, job_id=query.job_id, attempt=attempt, after=query.after_sequence, limit=query.limit
            )
        return Points(attempt=attempt, points=fitting(page))

"""Alerts for those who may see them."""

from typing import cast

from stoker_metrics.alerts.repository import AlertRepository
from stoker_metrics.attempts.service import Attempts
from stoker_metrics.pages import fitting
from stoker_shared.database import Database
from stoker_shared.rpc.alerts import Alerts, AlertsQuery
from stoker_shared.rpc.metrics import AlertLevel


class AlertReader:
    """Answers `alerts`. `most`: how many of a level are kept of a job."""

    def __init__(self, database: Database, *, attempts: Attempts, most: int) -> None:
        self._database = database
        self._attempts = attempts
        self._most = most
        self._rows = AlertRepository()

    async def alerts(self, query: AlertsQuery) -> Alerts:
        """Alerts of all attempts of a job in order. An empty page is the end.

        Raises:
            NotFound: the job is somebody else's.
            ServiceUnavailable: the database is away.
        """
        await self._attempts.check_owner(job_id=query.job_id, owner=query.owner)
        after = query.after_attempt, query.after_sequence
        async with self._database.transaction() as session:
            page = await self._rows.page(session, query.job_id, after=after, limit=query.limit)
            full = await self._rows.full(session, [query.job_id], most=self._most)
        return Alerts(alerts=fitting(page), capped=[cast("AlertLevel", level) for _, level in full])

"""At most so many alerts of one job to one target within an hour: pods raise them, and a pod may be broken or hostile.

The first one beyond becomes a message that says so. From then on an hour long all are counted with that message.
"""

from dataclasses import replace
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncSession

from stoker_metrics.notifications.deliveries.repository import DeliveryRepository
from stoker_metrics.notifications.deliveries.schemas import NewDelivery
from stoker_metrics.notifications.holding.repository import HoldRepository
from stoker_metrics.notifications.payloads import HELD_BACK, JobFacts, held_back_payload
from stoker_shared.logging import get_logger

logger = get_logger(__name__)

ALERT = "job.alert"
SPAN = timedelta(hours=1)


class AlertCap:
    """Stores alerts for targets, or counts them."""

    def __init__(self, *, most: int, api_url: str | None) -> None:
        self._most = most
        self._api_url = api_url
        self._rows = HoldRepository()
        self._deliveries = DeliveryRepository()

    async def add(self, session: AsyncSession, alert: NewDelivery, job: JobFacts, *, now: datetime) -> bool:
        """Store an alert for a target, or what stands for it. False: it was counted. The job's row must be locked."""
        where = {"target_id": alert.target_id, "job_id": job.job_id}
        if alert.is_late:
            # It is not sent by itself.
            return await self._deliveries.add(session, alert, now=now) is not None
        if await self._rows.count_one(session, **where, now=now):
            return False
        if await self._rows.told(session, **where, since=now - SPAN) < self._most:
            return await self._deliveries.add(session, alert, now=now) is not None
        return await self._begin(session, alert, job, now=now)

    async def _begin(self, session: AsyncSession, alert: NewDelivery, job: JobFacts, *, now: datetime) -> bool:
        until = now + SPAN
        body = held_back_payload(job, at=alert.occurred_at, most=self._most, until=until, api_url=self._api_url)
        told = replace(alert, type=HELD_BACK, payload=body)
        delivery_id = await self._deliveries.add(session, told, now=now)
        if delivery_id is None:
            return False
        await self._rows.begin(session, delivery_id, until=until)
        logger.warning("alerts held back", job_id=job.job_id, target_id=alert.target_id, until=until.isoformat())
        return True

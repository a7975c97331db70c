"""Rules of owners, and what they make of events: deliveries, in the transaction that records the event."""

from collections.abc import Callable
from datetime import datetime, timedelta
from uuid import NAMESPACE_URL, uuid5

from sqlalchemy.ext.asyncio import AsyncSession

from stoker_metrics.attempts.repository import AttemptRepository
from stoker_metrics.notifications.deliveries.repository import DeliveryRepository
from stoker_metrics.notifications.deliveries.schemas import NewDelivery
from stoker_metrics.notifications.errors import RuleUnknown, TargetUnknown, TooManyTargets
from stoker_metrics.notifications.holding.service import ALERT, AlertCap
from stoker_metrics.notifications.payloads import TYPES, JobFacts, event_payload, job_payload, spent_until
from stoker_metrics.notifications.rules.repository import RuleRepository
from stoker_metrics.notifications.tables import NotifiedJobRow, RuleRow
from stoker_metrics.notifications.targets.repository import TargetRepository
from stoker_shared.clock import Clock
from stoker_shared.database import Database
from stoker_shared.errors import ServiceUnavailable
from stoker_shared.events import JobEvent, JobQueued, PodEvent
from stoker_shared.identifiers import new_identifier
from stoker_shared.logging import get_logger
from stoker_shared.outbox import first_time
from stoker_shared.rpc.notifications import AddRule, OwnerQuery, RuleFacts, RuleList, RuleQuery

logger = get_logger(__name__)

MOST_RULES = 200
_PATIENCE = 5
"""So often an event may come before anything is known of its job: `queued` may be on its way in another worker."""

_AT_ONCE = 200


class Rules:
    """Rules, and the deliveries that they make."""

    def __init__(
        self,
        database: Database,
        *,
        clock: Clock,
        wake: Callable[[], None],
        late_after: timedelta,
        most_alerts: int,
        api_url: str | None,
    ) -> None:
        self._database = database
        self._clock = clock
        self._wake = wake
        self._late_after = late_after
        self._api_url = api_url
        self._rows = RuleRepository()
        self._targets = TargetRepository()
        self._deliveries = DeliveryRepository()
        self._attempts = AttemptRepository()
        self._cap = AlertCap(most=most_alerts, api_url=api_url)

    # Answers.

    async def add(self, asked: AddRule) -> RuleFacts:
        """Keep a rule. The same again is that rule.

        Raises:
            TargetUnknown, TooManyTargets.
        """
        values = {
            **asked.model_dump(),
            "events": sorted(set(asked.events)),
            "rule_id": new_identifier("rule"),
            "created_at": self._clock.now(),
        }
        async with self._database.transaction() as session:
            await self._targets.lock(session, asked.owner)
            known = await self._rows.of_owner(session, asked.owner)
            same = [row for row in known if all(getattr(row, name) == values[name] for name in AddRule.model_fields)]
            if same:
                return _facts(same[0])
            if len(known) >= MOST_RULES:
                raise TooManyTargets("rules", MOST_RULES)
            if not await self._rows.add(session, values):
                raise TargetUnknown(asked.target_id)
        return RuleFacts.model_validate(values)

    async def rules(self, query: OwnerQuery) -> RuleList:
        """All of an owner, oldest first."""
        async with self._database.transaction() as session:
            rows = await self._rows.of_owner(session, query.owner)
        return RuleList(rules=[_facts(row) for row in rows])

    async def remove(self, query: RuleQuery) -> RuleList:
        """Delete a rule.

        Raises:
            RuleUnknown.
        """
        async with self._database.transaction() as session:
            if not await self._rows.remove(session, owner=query.owner, rule_id=query.rule_id):
                raise RuleUnknown(query.rule_id)
        return await self.rules(OwnerQuery(owner=query.owner))

    # Events.

    async def take(self, event: JobEvent | PodEvent, *, consumer: str, delivered: int) -> int:
        """Store what an event gives rise to. The same event again changes nothing. Returns how many deliveries.

        Raises:
            ServiceUnavailable: nothing is known of the job yet, or the database is away; try again.
        """
        now = self._clock.now()
        async with self._database.transaction() as session:
            if not await first_time(session, consumer=consumer, event_id=event.event_id, now=now):
                return 0
            job = await self._known(session, event, now=now)
            notification = TYPES.get(type(event))
            if notification is None:
                return 0
            if job is None or job.owner is None:
                if delivered < _PATIENCE:
                    raise ServiceUnavailable("notifications", f"nothing is known of {event.job_id} yet")
                logger.warning("event of a job of which nothing is known", job_id=event.job_id, type=notification)
                return 0
            stored = await self._store(session, event, job, notification, now=now)
        if stored:
            self._wake()
        return stored

    async def by_the_clock(self) -> int:
        """Store what time and money give rise to. Returns how many deliveries."""
        stored = 0
        for notification in ("job.budget_share", "job.queued_long"):
            async with self._database.transaction() as session:
                stored += await self._due(session, notification, now=self._clock.now())
        if stored:
            self._wake()
        return stored

    async def _known(
        self, session: AsyncSession, event: JobEvent | PodEvent, *, now: datetime
    ) -> NotifiedJobRow | None:
        if isinstance(event, JobQueued) and event.owner:
            await self._rows.seen(
                session,
                event,
                now=now,
                owner=event.owner,
                project=event.project,
                budget_micro_usd=event.budget_micro_usd,
            )
        elif isinstance(event, JobEvent):
            # A job that was taken before its events told whose it is: whoever admitted an attempt of it knows.
            owner = await self._attempts.owner(session, job_id=event.job_id)
            await self._rows.seen(session, event, now=now, owner=owner)
        else:
            await self._rows.heard(session, event.job_id, now=now)
        return await self._rows.job(session, event.job_id)

    async def _store(
        self,
        session: AsyncSession,
        event: JobEvent | PodEvent,
        job: NotifiedJobRow,
        notification: str,
        *,
        now: datetime,
    ) -> int:
        owner, at, stored = str(job.owner), event.occurred_at, 0
        facts = _job_facts(job, now=min(now, at))
        body = event_payload(notification, event, facts, api_url=self._api_url)
        matches = await self._rows.matching(session, owner=owner, project=job.project, notification=notification)
        for match in matches:
            delivery = NewDelivery(
                owner=owner,
                target_id=match.target_id,
                rule_id=match.rule_id,
                event_id=event.event_id,
                type=notification,
                job_id=job.job_id,
                occurred_at=at,
                payload=body,
                is_late=now - at > self._late_after,
            )
            if notification == ALERT:
                stored += await self._cap.add(session, delivery, facts, now=now)
            else:
                stored += await self._deliveries.add(session, delivery, now=now) is not None
        return stored

    async def _due(self, session: AsyncSession, notification: str, *, now: datetime) -> int:
        stored = 0
        for due in await self._rows.by_the_clock(session, notification, now=now, limit=_AT_ONCE):
            job = await self._rows.job(session, due.job_id)
            if job is None or job.owner is None:
                continue
            facts = _job_facts(job, now=now)
            body = job_payload(
                notification, facts, at=now, reason=None, message=_by_the_clock(due, facts), api_url=self._api_url
            )
            # A budget is used up once; a job may wait several times.
            since = job.status_since.isoformat() if notification == "job.queued_long" else ""
            name = f"{notification} {due.rule_id} {due.job_id} {since}"
            delivery = NewDelivery(
                owner=job.owner,
                target_id=due.target_id,
                rule_id=due.rule_id,
                # The same for all replicas that look at the same time.
                event_id=uuid5(NAMESPACE_URL, name),
                type=notification,
                job_id=job.job_id,
                occurred_at=now,
                payload=body,
            )
            stored += await self._deliveries.add(session, delivery, now=now) is not None
        return stored


def _job_facts(job: NotifiedJobRow, *, now: datetime) -> JobFacts:
    spent = spent_until(
        now,
        spent_micro_usd=job.spent_micro_usd,
        price_micro_usd_per_hour=job.price_micro_usd_per_hour,
        billing_started_at=job.billing_started_at,
    )
    return JobFacts(job.job_id, job.project, job.attempt, job.status, spent, job.budget_micro_usd)


def _by_the_clock(due: object, facts: JobFacts) -> str:
    if facts.status == "queued":
        return f"It has been waiting for more than {due.queued_after_seconds} s."  # type: ignore[attr-defined]
    return f"It has used {due.mark:.0%} of its budget."  # type: ignore[attr-defined]


def _facts(row: RuleRow) -> RuleFacts:
    return RuleFacts.model_validate({name: getattr(row, name) for name in RuleFacts.model_fields})

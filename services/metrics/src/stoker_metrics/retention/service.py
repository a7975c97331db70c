"""What is dropped, and when.

What pods reported goes a day at a time, when all attempts admitted on it have been over for long enough; alerts and
what was told of jobs go row by row.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import date, timedelta
from functools import partial

from sqlalchemy.ext.asyncio import AsyncSession

from stoker_metrics.alerts.repository import AlertRepository
from stoker_metrics.notifications.deliveries.repository import DeliveryRepository
from stoker_metrics.notifications.rules.repository import RuleRepository
from stoker_metrics.points.keeping import PointKeeper
from stoker_metrics.retention.repository import DayRepository
from stoker_shared.clock import Clock
from stoker_shared.database import Database
from stoker_shared.logging import get_logger
from stoker_shared.topology import stream

logger = get_logger(__name__)

JOB_NEEDED_FOR = stream("EVENTS").max_age + timedelta(days=1)
"""Until then the broker may have events that were not taken yet: of what is not known here, nobody can be told."""

_AT_ONCE = 1000


@dataclass(frozen=True, slots=True)
class RetentionRules:
    """How long things stay after the end of the last attempt of a day. None: for ever.

    `logs` is also for alerts, from when they were raised. `deliveries`: how long those stay that are finished,
    and how long those wait whose target is paused.
    """

    points: timedelta | None = timedelta(days=90)
    charts: timedelta | None = None
    logs: timedelta | None = timedelta(days=180)
    deliveries: timedelta = timedelta(days=30)


class Retention:
    """Enforces the rules."""

    def __init__(self, database: Database, *, clock: Clock, rules: RetentionRules) -> None:
        self._database = database
        self._clock = clock
        self._rules = rules
        self._days = DayRepository()
        self._points = PointKeeper()
        self._jobs = RuleRepository()
        self._deliveries = DeliveryRepository()
        self._alerts = AlertRepository()

    async def sweep(self) -> None:
        """Drop what is past its time. Objects of dropped chunks are deleted by packing's own sweep.

        Raises:
            ServiceUnavailable: the database is away, or a table is in use for too long; tried again at the next sweep.
        """
        await self._drop("points", self._rules.points, self._drop_points)
        await self._drop("levels", self._rules.charts, self._days.drop_levels)
        await self._drop("lines", self._rules.logs, self._days.drop_lines)
        await self._forget()

    async def _drop(
        self, what: str, keep: timedelta | None, drop: Callable[[AsyncSession, date], Awaitable[None]]
    ) -> None:
        if keep is None:
            return
        now = self._clock.now()
        async with self._database.transaction() as session:
            days = await self._days.over(session, what=what, ended_before=now - keep)
        for day in days:
            async with self._database.transaction() as session:
                await drop(session, day)
                await self._days.note(session, day, what=what, now=now)
            logger.info("dropped by retention", what=what, day=day.isoformat())

    async def _forget(self) -> None:
        now = self._clock.now()
        forget_jobs = partial(self._jobs.forget_jobs, heard_before=now - JOB_NEEDED_FOR)
        forget_deliveries = partial(self._deliveries.forget, before=now - self._rules.deliveries)
        give_up = partial(self._deliveries.give_up, before=now - self._rules.deliveries, now=now)
        forgets = [forget_jobs, forget_deliveries, give_up]
        if (keep := self._rules.logs) is not None:
            forgets.append(partial(self._alerts.forget, before=now - keep))
        for forget in forgets:
            forgotten = _AT_ONCE
            while forgotten == _AT_ONCE:
                async with self._database.transaction() as session:
                    forgotten = await forget(session, limit=_AT_ONCE)

    async def _drop_points(self, session: AsyncSession, day: date) -> None:
        # What waits to be levelled would be missing in the charts that stay.
        for key, kept in (await self._days.locked(session, day)).items():
            await self._days.note_levelled(session, key, await self._points.level_rest(session, key, kept))
        await self._days.drop_partition(session, "points", day)

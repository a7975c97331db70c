"""Gives slots away: one transaction each, which cannot be won twice."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession

from stoker_deployer.jobs.tables import Job
from stoker_deployer.queue.line import Holding, Limits, Machines, Place, Waiting, line_up
from stoker_deployer.queue.repository import QueueRepository


class Slots:
    """Every method runs in the caller's transaction, which is to be short: it holds off all other replicas."""

    def __init__(self, limits: Limits, rows: QueueRepository | None = None) -> None:
        self.limits = limits
        self._rows = rows or QueueRepository()

    async def claim(self, session: AsyncSession, job: Job, *, provider: str, now: datetime) -> str:
        """Whether this job may begin at a provider now: "" if so, else what it waits for.

        Who was woken for a slot and has not come yet keeps it.
        """
        await self._rows.serialise(session)
        holdings = await self._rows.holdings(session)
        mine = Waiting(job.job_id, job.owner, job.project, provider, job.priority, job.created_at)
        machines = Machines(holdings, self.limits)
        if obstacle := machines.obstacle(mine):
            # The usual answer where many wait: the line need not be read for it.
            return obstacle
        others = await self._rows.competing(session, most=machines.free, without=job.job_id, now=now)
        places = await self._line_up(session, [mine, *others], holdings)
        await self._wake(session, [place for place in places if place.waiting is not mine], now=now)
        return next(place.obstacle for place in places if place.waiting is mine)

    async def take(self, session: AsyncSession, job: Job, *, now: datetime) -> None:
        """The job begins in the slot that `claim` gave it: its owner has had a turn."""
        await self._rows.take_turn(session, job.owner, now=now)

    async def begin_release(self, session: AsyncSession) -> None:
        """Call it first in a transaction that frees a slot: before other locks, so that none wait in a circle."""
        await self._rows.serialise(session)

    async def end_release(self, session: AsyncSession, *, now: datetime) -> None:
        """The slot is free: have those looked at that may begin now."""
        holdings = await self._rows.holdings(session)
        free = Machines(holdings, self.limits).free
        others = await self._rows.competing(session, most=free, without="", now=now) if free else []
        await self._wake(session, await self._line_up(session, others, holdings), now=now)

    async def places(self, session: AsyncSession, *, now: datetime) -> list[Place]:
        """The whole line as it stands."""
        waiting = await self._rows.all_waiting(session, now=now)
        return await self._line_up(session, waiting, await self._rows.holdings(session))

    async def _line_up(
        self, session: AsyncSession, waiting: Sequence[Waiting], holdings: Sequence[Holding]
    ) -> list[Place]:
        # With one job there is no order to be found.
        turns = await self._rows.turns(session, waiting) if len(waiting) > 1 else {}
        return line_up(waiting, holdings, self.limits, turns)

    async def _wake(self, session: AsyncSession, places: Sequence[Place], *, now: datetime) -> None:
        await self._rows.wake(session, [place.waiting.job_id for place in places if place.may_begin], now=now)

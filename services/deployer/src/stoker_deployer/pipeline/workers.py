"""Workers: take due jobs, renew their leases while they are worked on, and look again when they are due."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import structlog

from stoker_deployer.jobs.errors import ClaimLost
from stoker_deployer.pipeline.claims import Claim
from stoker_deployer.pipeline.repository import ClaimRepository
from stoker_shared.clock import Clock
from stoker_shared.database import Database
from stoker_shared.errors import TransientError
from stoker_shared.logging import get_logger
from stoker_shared.tasks import end_tasks
from stoker_shared.trace import enter_background, enter_trace, silent_job_traceparent

logger = get_logger(__name__)

_GIVE_BACK_AFTER = timedelta(seconds=5)
_RETRY_SECONDS = 0.5
# Fewer than this are looked at one by one, each at once; more are looked at together.
_LEAST_FOR_A_ROUND = 4
_MOST_IN_A_ROUND = 250
# While one waits for a slow peer another one goes on.
_MOST_ROUNDS = 2
_COUNT_EVERY = timedelta(seconds=5)


@dataclass(frozen=True, slots=True)
class Pace:
    """How many jobs at once, and how often to look without being woken."""

    workers: int
    poll_interval: timedelta
    stop_grace: timedelta


class Pipeline:
    """Looks at due jobs, never twice at once at the same one: many together in `rounds`, and then, for those that
    need a step of their own, `reconcile`.

    `wake` after a commit makes it look at once; a lost wake costs one poll interval. `after_commit` also wakes whoever
    sends the outbox.
    """

    def __init__(  # noqa: PLR0913 - wiring
        self,
        database: Database,
        claims: ClaimRepository,
        reconcile: Callable[[Claim], Awaitable[datetime | None]],
        *,
        clock: Clock,
        pace: Pace,
        after_commit: Callable[[], None],
        rounds: Callable[[Sequence[Claim]], Awaitable[list[Claim]]],
        count_live: Callable[[int], None],
    ) -> None:
        self._database = database
        self._claims = claims
        self._reconcile = reconcile
        self._clock = clock
        self._pace = pace
        self.after_commit = after_commit
        self._look_at_all = rounds
        self._count_live = count_live
        self._counted_at: datetime | None = None
        self._awake = asyncio.Event()
        self._has_more = False
        self._held: dict[Claim, asyncio.Task[None]] = {}
        self._rounds: set[asyncio.Task[None]] = set()
        self._turns = asyncio.Semaphore(pace.workers)

    def wake(self) -> None:
        """There may be jobs that are due."""
        self._awake.set()

    def hand_over(self, claim: Claim) -> None:
        """Work on a job that is claimed already."""
        self._hold(claim, self._work(claim))

    def _hold(self, claim: Claim, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work, name=f"reconcile {claim.job_id}")
        self._held[claim] = task
        task.add_done_callback(lambda _: self._put_down(claim, task))

    async def run(self) -> None:
        """Claim and work until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._renew_leases())
            group.create_task(self._take_due_jobs())

    async def stop(self) -> None:
        """Let running steps end for a while, then drop them; their leases run out by themselves."""
        tasks = set(self._held.values())
        if not tasks:
            return
        _, late = await asyncio.wait(tasks, timeout=self._pace.stop_grace.total_seconds())
        await end_tasks(late)

    async def _take_due_jobs(self) -> None:
        while True:
            self._awake.clear()
            limit = self._free_workers() + (_MOST_IN_A_ROUND if len(self._rounds) < _MOST_ROUNDS else 0)
            taken = await self._claim(limit) if limit else []
            self._distribute(taken)
            # Only if more may be due: jobs that become due one after the other are better taken together.
            self._has_more = len(taken) == limit
            if not taken or not self._has_more:
                await self._sleep()

    async def _claim(self, limit: int) -> list[Claim]:
        now = self._clock.now()
        try:
            async with self._database.transaction() as session:
                if self._counted_at is None or abs(now - self._counted_at) >= _COUNT_EVERY:
                    self._count_live(await self._claims.count_live(session))
                    self._counted_at = now
                return await self._claims.claim_due(session, now=now, limit=limit)
        except TransientError as error:
            logger.warning("no jobs claimed", reason=error.detail)
            return []

    def _free_workers(self) -> int:
        busy = sum(1 for task in self._held.values() if task not in self._rounds)
        return max(self._pace.workers - busy, 0)

    def _distribute(self, taken: list[Claim]) -> None:
        # Those that were woken do not wait for the rest.
        urgent = [claim for claim in taken if claim.is_urgent]
        for claims in (urgent, [claim for claim in taken if not claim.is_urgent]):
            if len(claims) >= _LEAST_FOR_A_ROUND or len(claims) > self._free_workers():
                self._begin_round(claims)
                continue
            for claim in claims:
                self.hand_over(claim)

    def _begin_round(self, claims: list[Claim]) -> None:
        task = asyncio.create_task(self._run_round(claims), name=f"round of {len(claims)} jobs")
        self._rounds.add(task)
        self._held.update(dict.fromkeys(claims, task))
        task.add_done_callback(lambda _: self._end_round(claims, task))

    async def _run_round(self, claims: list[Claim]) -> None:
        enter_background()
        try:
            rest = await self._look_at_all(claims)
        except TransientError as error:
            logger.warning("jobs not looked at", jobs=len(claims), reason=error.detail)
            await self._give_back(claims)
        except Exception:
            logger.exception("round failed", jobs=len(claims))
            await self._give_back(claims)
        else:
            for claim in rest:
                self._hold(claim, self._work_in_turn(claim))

    def _end_round(self, claims: list[Claim], task: asyncio.Task[None]) -> None:
        self._rounds.discard(task)
        for claim in claims:
            self._put_down(claim, task)

    async def _sleep(self) -> None:
        try:
            async with asyncio.timeout(self._pace.poll_interval.total_seconds()):
                await self._awake.wait()
        except TimeoutError:
            return

    async def _work(self, claim: Claim) -> None:
        # It is looked at every few seconds: only what it does is told as spans, where it does it.
        trace_id = enter_trace(silent_job_traceparent(claim.job_id))
        with structlog.contextvars.bound_contextvars(trace_id=trace_id):
            await self._reconcile_logged(claim)

    async def _work_in_turn(self, claim: Claim) -> None:
        # A round may leave more of them than there are connections to the database.
        async with self._turns:
            await self._work(claim)

    async def _reconcile_logged(self, claim: Claim) -> None:
        try:
            due = await self._reconcile(claim)
        except ClaimLost as error:
            logger.info("claim lost", job_id=claim.job_id, reason=error.detail)
        except TransientError as error:
            logger.warning("job not reconciled", job_id=claim.job_id, reason=error.detail)
            await self._give_back([claim])
        except Exception:
            logger.exception("reconcile failed", job_id=claim.job_id)
            await self._give_back([claim])
        else:
            self._wake_when_due(due)

    async def _give_back(self, claims: Sequence[Claim]) -> None:
        # PostgreSQL may be away; once the lease has run out, anybody may take the job anyway.
        while self._clock.now() < max(claim.expires_at for claim in claims):
            try:
                async with self._database.transaction() as session:
                    later = self._clock.now() + _GIVE_BACK_AFTER
                    await self._claims.give_back(session, claims, next_check_at=later)
            except TransientError:
                await asyncio.sleep(_RETRY_SECONDS)
            else:
                return

    def _wake_when_due(self, due: datetime | None) -> None:
        if due is None:
            return
        pause = due - self._clock.now()
        # What is due later is found by a poll, with others that are due by then: together they cost less.
        if pause < self._pace.poll_interval:
            asyncio.get_running_loop().call_later(max(pause.total_seconds(), 0), self.wake)

    def _put_down(self, claim: Claim, task: asyncio.Task[None]) -> None:
        # A round passes claims on to tasks of their own.
        if self._held.get(claim) is task:
            del self._held[claim]
        if self._has_more:
            self.wake()

    async def _renew_leases(self) -> None:
        while True:
            await asyncio.sleep(self._claims.lease.total_seconds() / 3)
            if self._held:
                await self._renew(list(self._held))

    async def _renew(self, claims: list[Claim]) -> None:
        now = self._clock.now()
        try:
            async with self._database.transaction() as session:
                alive = await self._claims.extend(session, [claim.token for claim in claims], now=now)
        except TransientError as error:
            # The leases run on as they are; who needs more time than is left refuses to act.
            logger.warning("leases not renewed", reason=error.detail)
            return
        for claim in claims:
            if claim.token in alive:
                claim.expires_at = now + self._claims.lease
            else:
                claim.is_lost = True

"""Level-triggered reconciliation: read the row, look at the world, decide one step, apply it, look again."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from stoker_deployer.jobs.applying import Applied, Applier
from stoker_deployer.jobs.calm import Calm
from stoker_deployer.jobs.ending import Closer
from stoker_deployer.jobs.launching import Launcher
from stoker_deployer.jobs.looking import Observer
from stoker_deployer.jobs.policy import Policy
from stoker_deployer.jobs.repository import JobRepository
from stoker_deployer.jobs.steps import (
    Change,
    EndAttempt,
    EndQueued,
    LaunchMachine,
    OrderLanding,
    RecordMachine,
    Step,
    TerminateMachine,
    Wait,
)
from stoker_deployer.jobs.transitions import next_step
from stoker_deployer.jobs.view import Sight, Snapshot, View
from stoker_deployer.pipeline.claims import Claim
from stoker_deployer.providers.accounts import Accounts
from stoker_shared.clock import Clock
from stoker_shared.database import Database
from stoker_shared.logging import get_logger

logger = get_logger(__name__)

# A job that moves on with every look gives its worker back now and then.
_MOST_STEPS_PER_CLAIM = 32


@dataclass(frozen=True, slots=True)
class Hands:
    """Those who touch the outside world."""

    observer: Observer
    launcher: Launcher
    closer: Closer


class Reconciler:
    """Brings a claimed job as far as it can go now."""

    def __init__(  # noqa: PLR0913 - wiring
        self,
        database: Database,
        jobs: JobRepository,
        applier: Applier,
        hands: Hands,
        *,
        accounts: Accounts,
        policy: Policy,
        clock: Clock,
        after_commit: Callable[[], None],
        calm: Calm | None = None,
    ) -> None:
        self._database = database
        self._jobs = jobs
        self._applier = applier
        self._hands = hands
        self._accounts = accounts
        self._policy = policy
        self._clock = clock
        self._after_commit = after_commit
        self._calm = calm
        self._watching_since = clock.now()

    def view(self, snapshot: Snapshot, *, sight: Sight | None = None, is_fresh_intent: bool = False) -> View:
        """A decision's basis at this moment."""
        return View(
            now=self._clock.now(),
            snapshot=snapshot,
            sight=sight or Sight(),
            policy=self._policy,
            providers=self._accounts.usable(snapshot.keys),
            watching_since=self._watching_since,
            calm_pause=self._calm.pause if self._calm else None,
            is_fresh_intent=is_fresh_intent,
        )

    async def reconcile(self, claim: Claim) -> datetime | None:
        """Step after step until there is nothing to do now. Returns when the job is due again, None at its end.

        Raises:
            ClaimLost: somebody else has the job; what was computed last is dropped.
            ServiceUnavailable: PostgreSQL is away; the claim is still held.
        """
        fresh, seen, claim.view = claim.fresh, claim.view, None
        for _ in range(_MOST_STEPS_PER_CLAIM):
            view, seen = seen or await self._look(claim, fresh), None
            change = await self._carry_out(next_step(view), view, claim)
            applied = await self._apply(change, view, claim)
            if applied.has_ended or applied.released_until is not None:
                return applied.released_until
            fresh = applied.fresh
            if applied.noted is not None:
                seen = self.view(applied.noted, sight=view.sight)
        view = await self._look(claim)
        pause = Wait(timedelta(milliseconds=1), "others are served first")
        return (await self._apply(pause, view, claim)).released_until

    async def _look(self, claim: Claim, fresh: Snapshot | None = None) -> View:
        if fresh is not None:
            return self.view(fresh, is_fresh_intent=True)
        async with self._database.transaction() as session:
            snapshot = await self._jobs.load(session, claim.job_id, token=claim.token)
        return self.view(snapshot, sight=await self._hands.observer.look(snapshot))

    async def _carry_out(self, step: Step, view: View, claim: Claim) -> Change:  # noqa: PLR0911 - one for each step
        match step:
            case LaunchMachine():
                await self._forget_absence(view, claim)
                return await self._hands.launcher.launch(view, claim)
            case TerminateMachine():
                return await self._hands.closer.terminate(view, step)
            case OrderLanding():
                return await self._hands.closer.order_landing(view, step)
            case RecordMachine() if step.surplus:
                return await self._hands.closer.terminate_surplus(view, step)
            case EndAttempt():
                return await self._hands.closer.revoke(view, step)
            case EndQueued() if view.snapshot.attempt is not None:
                return await self._hands.closer.tell_end(view, step)
            case _:
                return step

    async def _forget_absence(self, view: View, claim: Claim) -> None:
        # Committed before the call: if this process dies in it, the next one has to look twice again.
        if view.attempt.absent_since is not None:
            await self._apply(Wait(timedelta(0), "launching", noted={"absent_since": None}), view, claim)

    async def _apply(self, change: Change, view: View, claim: Claim) -> Applied:
        async with self._database.transaction() as session:
            applied = await self._applier.apply(session, change, view, token=claim.token)
            if applied.noted is not None:
                # A phase was noted, and mostly that was all: then the claim ends in the same transaction.
                after = self.view(applied.noted, sight=view.sight)
                if isinstance(wait := next_step(after), Wait):
                    applied = await self._applier.apply(session, wait, after, token=claim.token)
        if isinstance(change, Wait):
            logger.debug("job waits", job_id=claim.job_id, status=view.job.status, why=change.why)
        else:
            logger.info("job moves", job_id=claim.job_id, was=view.job.status, step=type(change).__name__)
            self._after_commit()
        return applied

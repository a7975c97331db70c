"""Takes commands: a launch becomes a row, and with a free slot at once the intent of its first attempt."""

from dataclasses import replace
from datetime import datetime

from stoker_deployer.jobs.admitting import Admitter
from stoker_deployer.jobs.announcing import Aftermath, tell
from stoker_deployer.jobs.applying import Applier
from stoker_deployer.jobs.reconcile import Reconciler
from stoker_deployer.jobs.repository import JobRepository
from stoker_deployer.jobs.steps import Deed
from stoker_deployer.jobs.tables import Cancellation, Job
from stoker_deployer.jobs.transitions import next_step
from stoker_deployer.jobs.view import Snapshot
from stoker_deployer.pipeline.claims import Claim
from stoker_deployer.pipeline.repository import ClaimRepository
from stoker_shared.clock import Clock
from stoker_shared.commands import CancelJob, LaunchJob
from stoker_shared.database import Database
from stoker_shared.events import JobQueued
from stoker_shared.job_state import JobStatus
from stoker_shared.logging import get_logger
from stoker_shared.outbox import enqueue

logger = get_logger(__name__)


class Intake:
    """Each method is one transaction, and may be repeated."""

    def __init__(  # noqa: PLR0913 - wiring
        self,
        database: Database,
        jobs: JobRepository,
        claims: ClaimRepository,
        applier: Applier,
        reconciler: Reconciler,
        admitter: Admitter,
        *,
        clock: Clock,
    ) -> None:
        self._admitter = admitter
        self._database = database
        self._jobs = jobs
        self._claims = claims
        self._applier = applier
        self._reconciler = reconciler
        self._clock = clock

    async def launch(self, command: LaunchJob) -> Claim | None:
        """Store the job, and begin its first attempt in the same transaction if it may.

        Returns the claim if there is something to go on with at once, None if not (or if the job is known already).
        """
        now = self._clock.now()
        # While the intent is being stored: nothing is launched before both are done. If no attempt begins, nobody
        # knows the tokens, and they run out.
        admission = self._admitter.begin(command, attempt=1)
        async with self._database.transaction() as session:
            claim = self._claims.new_claim(command.job_id, now=now)
            job = self._new_job(command, claim, now=now)
            if not await self._jobs.insert(session, job):
                logger.info("launch command repeated", **command.summary())
                return None
            snapshot = Snapshot(
                job=job,
                attempt=None,
                cancellation=await self._jobs.cancellation(session, command.job_id),
                book=await self._jobs.open_book(session, job),
                cooldowns=await self._jobs.cooldowns.known(session),
                keys=await self._jobs.secrets.current(session, job.owner),
            )
            await enqueue(session, _queued(job, Aftermath(job, None, snapshot.book, now)))
            step = next_step(view := self._reconciler.view(snapshot))
            if isinstance(step, Deed):
                raise TypeError(f"a queued job cannot need {step}")
            applied = await self._applier.apply(session, step, view, token=claim.token)
        logger.info("job taken", **command.summary(), has_begun=applied.fresh is not None)
        return None if applied.fresh is None else replace(claim, fresh=applied.fresh, admission=admission)

    async def cancel(self, command: CancelJob) -> None:
        """Keep the wish, also for a job that is not known yet, and have the job looked at."""
        now = self._clock.now()
        wish = Cancellation(job_id=command.job_id, requested_by=command.requested_by, why=command.why, requested_at=now)
        async with self._database.transaction() as session:
            await self._jobs.cancel(session, wish)
            await self._claims.wake(session, command.job_id)

    async def wake(self, job_id: str) -> None:
        """Have a job looked at now."""
        async with self._database.transaction() as session:
            await self._claims.wake(session, job_id)

    def _new_job(self, command: LaunchJob, claim: Claim, *, now: datetime) -> Job:
        return Job(
            job_id=command.job_id,
            owner=command.owner,
            command=command.model_dump(mode="json"),
            budget_micro_usd=command.budget_micro_usd,
            max_attempts=command.max_attempts,
            max_duration_seconds=command.max_duration_seconds,
            created_at=now,
            project=command.project,
            priority=command.priority,
            status=JobStatus.QUEUED.value,
            sequence=1,
            next_check_at=now,
            lock_token=claim.token,
            lock_owner=self._claims.owner,
            lock_expires_at=claim.expires_at,
        )


def _queued(job: Job, after: Aftermath) -> JobQueued:
    return tell(JobQueued, after, owner=job.owner, project=job.project, budget_micro_usd=job.budget_micro_usd)

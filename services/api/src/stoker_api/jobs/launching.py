"""Launching a plan: a job view and a command, stored together.

The usual launch is one transaction: one SELECT for key, plan and idempotency key, two INSERTs. Only a plan whose facts
are older than `facts_lifetime` is looked at again, before a second transaction: is the dataset still stored, has the
price of the first offer risen.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import uuid4

from sqlalchemy.ext.asyncio import AsyncSession

from stoker_api.accounts.service import is_usable, unknown_key
from stoker_api.errors import IdempotencyKeyReused, PlanBlocked, PlanHashDiffers, PlanStale
from stoker_api.jobs.repository import JobRepository, LaunchCandidate
from stoker_api.jobs.schemas import Job
from stoker_api.jobs.tables import JobViewRow
from stoker_api.jobs.views import job_of
from stoker_api.plans.freeze import FrozenPlan, thaw
from stoker_api.plans.freshness import FreshnessCheck
from stoker_shared.clock import Clock
from stoker_shared.commands import LaunchJob
from stoker_shared.database import Database
from stoker_shared.errors import NotFound
from stoker_shared.identifiers import new_identifier
from stoker_shared.job_state import JobStatus
from stoker_shared.outbox import FirstMessage, Relay
from stoker_shared.recipe import DataFormat
from stoker_shared.tokens import hashes_equal
from stoker_shared.trace import current_trace_id, job_traceparent, record_span


@dataclass(frozen=True, slots=True)
class Launched:
    """A job, and whether this call made it: then with its command, to be sent after the commit."""

    job: Job
    command: FirstMessage | None = None

    @property
    def is_new(self) -> bool:
        """Whether this call made the job."""
        return self.command is not None


@dataclass(frozen=True, slots=True)
class _Wanted:
    plan: FrozenPlan
    idempotency_key: str | None
    priority: int


class LaunchService:
    """Launches plans."""

    def __init__(
        self,
        database: Database,
        *,
        relay: Relay,
        freshness: FreshnessCheck,
        clock: Clock,
        facts_lifetime: timedelta,
    ) -> None:
        self._database = database
        self._relay = relay
        self._freshness = freshness
        self._clock = clock
        self._facts_lifetime = facts_lifetime
        self._rows = JobRepository()

    async def launch(
        self,
        key_sha256: str,
        *,
        plan_id: str,
        plan_hash: str,
        idempotency_key: str | None = None,
        priority: int = 0,
    ) -> Launched:
        """Launch a plan of the key's owner, or find the job that the idempotency key launched before.

        Raises:
            Unauthorised: the key is unknown, expired or revoked.
            NotFound: the owner has no such plan.
            PlanHashDiffers, PlanBlocked, PlanStale, IdempotencyKeyReused: see each.
            ServiceUnavailable: the plan is old enough to be looked at again, and that is not possible now.
        """
        asked_at = self._clock.now()
        async with self._database.transaction() as session:
            candidate = await self._candidate(
                session, key_sha256=key_sha256, plan_id=plan_id, idempotency_key=idempotency_key
            )
            if candidate.earlier_job_id is not None:
                return await self._earlier(session, candidate, plan_id=plan_id)
            self._require_launchable(candidate, plan_id=plan_id, plan_hash=plan_hash)
            wanted = _Wanted(thaw(candidate.frozen), idempotency_key, priority)
            if self._is_fresh(candidate):
                launched = await self._store(session, candidate, wanted)
        if not self._is_fresh(candidate):
            launched = await self._look_and_store(candidate, wanted)
        if launched.command is not None:
            parent, attributes = job_traceparent(launched.job.job_id), {"stoker.request_trace": current_trace_id()}
            record_span("launch", parent=parent, started_at=asked_at, ended_at=self._clock.now(), attributes=attributes)
            self._relay.send_first(launched.command)
        return launched

    async def _candidate(
        self, session: AsyncSession, *, key_sha256: str, plan_id: str, idempotency_key: str | None
    ) -> LaunchCandidate:
        candidate = await self._rows.launch_candidate(
            session, key_sha256=key_sha256, plan_id=plan_id, idempotency_key=idempotency_key
        )
        if candidate is None or not is_usable(
            expires_at=candidate.key_expires_at, revoked_at=candidate.key_revoked_at, now=self._clock.now()
        ):
            raise unknown_key()
        return candidate

    async def _earlier(self, session: AsyncSession, candidate: LaunchCandidate, *, plan_id: str) -> Launched:
        job_id = str(candidate.earlier_job_id)
        if candidate.earlier_plan_id != plan_id:
            raise IdempotencyKeyReused(job_id)
        row = await self._rows.find(session, owner=candidate.owner, job_id=job_id)
        if row is None:
            raise NotFound("job", job_id)
        return Launched(job_of(row, now=self._clock.now()))

    def _require_launchable(self, candidate: LaunchCandidate, *, plan_id: str, plan_hash: str) -> None:
        if candidate.plan_id is None:
            raise NotFound("plan", plan_id, next_step="Make one: POST /v1/plans.")
        if not hashes_equal(candidate.plan_hash, plan_hash):
            raise PlanHashDiffers(plan_id)
        if not candidate.is_launchable:
            faults = {fault["code"]: fault["message"] for fault in candidate.blocking or []}
            raise PlanBlocked(plan_id, faults=faults)
        if self._clock.now() >= candidate.plan_expires_at:
            raise PlanStale(plan_id, changes=[f"it could be launched until {candidate.plan_expires_at.isoformat()}"])

    def _is_fresh(self, candidate: LaunchCandidate) -> bool:
        return self._clock.now() - candidate.checked_at <= self._facts_lifetime

    async def _look_and_store(self, candidate: LaunchCandidate, wanted: _Wanted) -> Launched:
        changes = await self._freshness.changes(wanted.plan)
        if changes:
            raise PlanStale(str(candidate.plan_id), changes=changes)
        async with self._database.transaction() as session:
            await self._rows.mark_checked(session, plan_id=str(candidate.plan_id), now=self._clock.now())
            return await self._store(session, candidate, wanted)

    async def _store(self, session: AsyncSession, candidate: LaunchCandidate, wanted: _Wanted) -> Launched:
        now = self._clock.now()
        row = _view(candidate, plan=wanted.plan, idempotency_key=wanted.idempotency_key, now=now)
        if not await self._rows.add_launched(session, row):
            return await self._lost_race(session, candidate, idempotency_key=str(wanted.idempotency_key))
        command = _command(candidate, wanted, job_id=row.job_id, now=now)
        return Launched(job_of(row, now=now), await self._relay.enqueue_first(session, command))

    async def _lost_race(self, session: AsyncSession, candidate: LaunchCandidate, *, idempotency_key: str) -> Launched:
        # The same key was used by another call between our SELECT and our INSERT.
        row = await self._rows.find_by_key(session, owner=candidate.owner, idempotency_key=idempotency_key)
        if row is None:
            raise NotFound("job", idempotency_key)
        if row.plan_id != candidate.plan_id:
            raise IdempotencyKeyReused(row.job_id)
        return Launched(job_of(row, now=self._clock.now()))


def _view(candidate: LaunchCandidate, *, plan: FrozenPlan, idempotency_key: str | None, now: datetime) -> JobViewRow:
    first = plan.offers[0]
    return JobViewRow(
        job_id=new_identifier("job"),
        owner=candidate.owner,
        plan_id=candidate.plan_id,
        idempotency_key=idempotency_key,
        name=candidate.name,
        status=JobStatus.QUEUED.value,
        provider=candidate.provider,
        gpu_type=first.gpu_type,
        gpu_count=first.gpu_count,
        budget_micro_usd=plan.budget_micro_usd,
        created_at=now,
        updated_at=now,
    )


def _command(candidate: LaunchCandidate, wanted: _Wanted, *, job_id: str, now: datetime) -> LaunchJob:
    plan = wanted.plan
    return LaunchJob(
        event_id=uuid4(),
        occurred_at=now,
        job_id=job_id,
        owner=candidate.owner,
        project=plan.project,
        plan_id=str(candidate.plan_id),
        plan_hash=candidate.plan_hash,
        dataset_version_id=plan.dataset_version_id,
        data_format=_known_format(plan),
        recipe=plan.recipe,
        offers=plan.offers,
        budget_micro_usd=plan.budget_micro_usd,
        max_attempts=plan.max_attempts,
        max_duration_seconds=plan.max_duration_seconds,
        priority=wanted.priority,
        max_price_micro_usd_per_hour=plan.max_price_micro_usd_per_hour,
        docker_image=plan.docker_image,
        volume_size_gb=plan.volume_size_gb,
        environment=candidate.environment,
        disk_needed_bytes=plan.disk_needed_bytes,
        keep_alive_seconds=plan.keep_alive_seconds,
        secrets=plan.secrets,
    )


def _known_format(plan: FrozenPlan) -> DataFormat:
    if plan.data_format is None:
        raise PlanBlocked(plan.dataset_version_id, faults={"dataset_method_mismatch": "The format is not known."})
    return plan.data_format

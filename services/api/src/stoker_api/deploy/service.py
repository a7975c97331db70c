"""Plan and launch in one call."""

from stoker_api.deploy.schemas import Deployed, DeployRequest
from stoker_api.errors import IdempotencyKeyReused
from stoker_api.jobs.launching import LaunchService
from stoker_api.jobs.schemas import Job
from stoker_api.jobs.service import JobService
from stoker_api.plans.schemas import Plan
from stoker_api.plans.service import PlanService
from stoker_shared.errors import NotFound


class DeployService:
    """For callers that want no plan step."""

    def __init__(self, *, plans: PlanService, launches: LaunchService, jobs: JobService) -> None:
        self._plans = plans
        self._launches = launches
        self._jobs = jobs

    async def deploy(
        self, owner: str, wanted: DeployRequest, *, provider: str, key_sha256: str, idempotency_key: str | None = None
    ) -> Deployed | Plan:
        """Plan and launch. Returns the plan instead if it has blocking faults.

        Raises:
            NotFound, RemoteRefusal: recipe or dataset are not this owner's.
            ServiceUnavailable: a service that has to be asked is away.
        """
        if (earlier := await self._earlier(owner, idempotency_key)) is not None:
            return earlier
        plan = await self._plans.create(owner, wanted.plan_for(provider))
        if not plan.is_launchable:
            return plan
        try:
            launched = await self._launches.launch(
                key_sha256,
                plan_id=plan.plan_id,
                plan_hash=plan.plan_hash,
                idempotency_key=idempotency_key,
                priority=wanted.priority,
            )
        except IdempotencyKeyReused:
            # Another call under this key has launched while we planned: its job is the answer to both.
            if (earlier := await self._earlier(owner, idempotency_key)) is not None:
                return earlier
            raise
        return _deployed(launched.job, plan)

    async def _earlier(self, owner: str, idempotency_key: str | None) -> Deployed | None:
        earlier = await self._jobs.launched_under(owner, idempotency_key) if idempotency_key else None
        if earlier is None or earlier.plan_id is None:
            return None
        return _deployed(earlier, await self._plans.get(owner, earlier.plan_id))

    async def status(self, owner: str, job_id: str, *, provider: str) -> Job:
        """A job at that provider, with its progress.

        Raises:
            NotFound: there is none of this owner there.
        """
        job = await self._jobs.get_in_full(owner, job_id)
        if job.provider != provider:
            raise NotFound("job", job_id)
        return job

    async def cancel(self, owner: str, job_id: str, *, provider: str) -> Job:
        """Cancel a job at that provider.

        Raises:
            NotFound, JobIsOver: see each.
        """
        job = await self._jobs.get(owner, job_id)
        if job.provider != provider:
            raise NotFound("job", job_id)
        return await self._jobs.cancel(owner, job_id)


def _deployed(job: Job, plan: Plan) -> Deployed:
    return Deployed(job=job, plan_id=plan.plan_id, plan_hash=plan.plan_hash, warnings=plan.warnings)

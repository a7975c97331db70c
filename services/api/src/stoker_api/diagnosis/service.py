"""What the metrics service says of a failed job, and plans that were checked to do better."""

from stoker_api.diagnosis.basis import Basis, basis_of
from stoker_api.diagnosis.changes import CHANGES, CannotHelp, Changed
from stoker_api.diagnosis.schemas import JobDiagnosis, Proposal, Proposals, Unhelpful
from stoker_api.errors import JobNotDiagnosed
from stoker_api.jobs.launching import Launched, LaunchService
from stoker_api.jobs.schemas import Job
from stoker_api.jobs.service import JobService
from stoker_api.plans.repository import PlanRepository
from stoker_api.plans.schemas import Plan
from stoker_api.plans.service import PlanService
from stoker_api.plans.tables import PlanRow
from stoker_shared.bus import RpcClient
from stoker_shared.database import Database
from stoker_shared.errors import NotFound
from stoker_shared.rpc.deployer import OFFERS, OffersQuery
from stoker_shared.rpc.diagnosis import DIAGNOSIS, Change, Diagnosis, DiagnosisQuery


class DiagnosisService:
    """Why, and what to change."""

    def __init__(
        self, database: Database, *, rpc: RpcClient, jobs: JobService, plans: PlanService, launches: LaunchService
    ) -> None:
        self._database = database
        self._rpc = rpc
        self._jobs = jobs
        self._plans = plans
        self._launches = launches
        self._rows = PlanRepository()

    async def diagnosis(self, owner: str, job_id: str, *, attempt: int | None = None) -> JobDiagnosis:
        """Why the job's newest end came, or that of an attempt.

        Raises:
            NotFound: there is no such job of this owner.
            ServiceUnavailable: the metrics service is away.
        """
        job = await self._jobs.get(owner, job_id)
        found = await self._ask(owner, job_id, attempt=attempt)
        return JobDiagnosis(diagnosis=found, detail="" if found else _why_none(job))

    async def proposals(self, owner: str, job_id: str) -> Proposals:
        """Plan each change that the diagnosis suggests, and keep those plans that fit and are priced.

        Raises:
            NotFound: there is no such job of this owner, or its plan is gone.
            JobNotDiagnosed: no end of it was diagnosed (yet).
            ServiceUnavailable: a service that has to be asked is away.
        """
        job = await self._jobs.get(owner, job_id)
        diagnosis = await self._ask(owner, job_id)
        if not job.is_over or diagnosis is None:
            raise JobNotDiagnosed(job_id, why=_why_none(job))
        basis = await self._basis(owner, job)
        proposals: list[Proposal] = []
        unhelpful: list[Unhelpful] = []
        for change in diagnosis.verdict.changes:
            outcome = await self._planned(owner, basis, change, number=len(proposals) + 1)
            if isinstance(outcome, Unhelpful):
                unhelpful.append(outcome)
            elif outcome.plan_hash not in {known.plan_hash for known in proposals}:
                proposals.append(outcome)
        return Proposals(
            job_id=job_id,
            attempt=diagnosis.attempt,
            cause=diagnosis.verdict.cause,
            summary=diagnosis.verdict.summary,
            advice=diagnosis.verdict.advice,
            proposals=proposals,
            unhelpful=unhelpful,
        )

    async def retry(
        self, owner: str, key_sha256: str, job_id: str, *, plan_id: str, plan_hash: str, priority: int
    ) -> Launched:
        """Launch a proposal under its hash. The same proposal again is the same job.

        Raises:
            NotFound, PlanHashDiffers, PlanBlocked, PlanStale: see `LaunchService.launch`.
        """
        await self._jobs.get(owner, job_id)
        return await self._launches.launch(
            key_sha256,
            plan_id=plan_id,
            plan_hash=plan_hash,
            idempotency_key=f"retry:{job_id}:{plan_id}",
            priority=priority,
        )

    async def _ask(self, owner: str, job_id: str, *, attempt: int | None = None) -> Diagnosis | None:
        query = DiagnosisQuery(owner=owner, job_id=job_id, attempt=attempt)
        return (await self._rpc.ask(DIAGNOSIS, query)).diagnosis

    async def _basis(self, owner: str, job: Job) -> Basis:
        row = await self._plan_row(owner, job)
        offers = await self._rpc.ask(OFFERS, OffersQuery(owner=owner, provider=row.provider))
        return basis_of(row, gpu_type=job.gpu_type, gpu_count=job.gpu_count, offers=offers.offers)

    async def _plan_row(self, owner: str, job: Job) -> PlanRow:
        async with self._database.transaction() as session:
            row = await self._rows.find(session, owner=owner, plan_id=job.plan_id or "")
        if row is None:
            raise NotFound("plan", job.plan_id or "")
        return row

    async def _planned(self, owner: str, basis: Basis, change: Change, *, number: int) -> Proposal | Unhelpful:
        outcome = CHANGES[change](basis)
        if isinstance(outcome, CannotHelp):
            return Unhelpful(change=change, why=outcome.why)
        plan = await self._plans.create(owner, outcome.wishes)
        why_not = _why_not(plan)
        if why_not:
            return Unhelpful(change=change, why=why_not)
        return _proposal(plan, outcome, change=change, number=number, basis=basis)


def _why_not(plan: Plan) -> str:
    if not plan.is_launchable:
        return " ".join(fault.message for fault in plan.blocking)
    if plan.forecast is None:
        return "What it costs cannot be forecast."
    if plan.offers[0].fit != "fits":
        return f"Whether it fits the memory is not sure ({plan.offers[0].fit})."
    return ""


def _proposal(plan: Plan, changed: Changed, *, change: Change, number: int, basis: Basis) -> Proposal:
    best, forecast = plan.offers[0].offer, plan.forecast
    if forecast is None:
        raise AssertionError("only plans with a forecast become proposals")
    difference = None if basis.highest_cost is None else forecast.cost_micro_usd_high - basis.highest_cost
    return Proposal(
        number=number,
        change=change,
        summary=changed.summary,
        plan_id=plan.plan_id,
        plan_hash=plan.plan_hash,
        provider=best.provider,
        gpu_type=best.gpu_type,
        gpu_count=best.gpu_count,
        price_micro_usd_per_hour=best.price_micro_usd_per_hour,
        cost_micro_usd_low=forecast.cost_micro_usd_low,
        cost_micro_usd_high=forecast.cost_micro_usd_high,
        cost_difference_micro_usd=difference,
        budget_micro_usd=plan.budget.budget_micro_usd,
    )


def _why_none(job: Job) -> str:
    if not job.is_over:
        return f"The job is {job.status.value}; ends of attempts are diagnosed."
    if job.status.value == "completed":
        return "The job was completed."
    return "It is being diagnosed: ask again in a few seconds."

"""`/v1/training/deploy`: plan and launch in one call."""

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from stoker_api.dependencies import CurrentAccount, PartsOfRequest, PresentedKey
from stoker_api.deploy.schemas import DeployBlocked, Deployed, DeployRequest
from stoker_api.jobs.endpoints import IdempotencyKey
from stoker_api.jobs.schemas import Job
from stoker_api.paths import JobPath
from stoker_api.plans.schemas import Plan, ProviderName
from stoker_api.responses import CANNOT_LAUNCH, JOB_IS_OVER, NOT_FOUND, UNAUTHORISED, UNAVAILABLE, Responses
from stoker_shared.trace import current_trace_id
from stoker_shared.web.problems import PROBLEM_MEDIA_TYPE, FieldFault

router = APIRouter(prefix="/v1/training/deploy", tags=["deploy"], responses={**UNAUTHORISED, **NOT_FOUND})

_BLOCKED: Responses = {
    422: {"model": DeployBlocked, "description": "`plan_blocked`: the faults; or a field has the wrong form"}
}


@router.post(
    "/{provider}",
    status_code=201,
    summary="Plan and launch",
    response_model=Deployed,
    responses={**_BLOCKED, **CANNOT_LAUNCH, **UNAVAILABLE},
)
async def deploy(
    provider: ProviderName,
    wanted: DeployRequest,
    account: CurrentAccount,
    key_sha256: PresentedKey,
    parts: PartsOfRequest,
    idempotency_key: IdempotencyKey = None,
) -> Deployed | JSONResponse:
    """Make a plan and launch it if nothing blocks it; else 422 with the faults, each with its next step."""
    outcome = await parts.deploys.deploy(
        account.user_id, wanted, provider=provider, key_sha256=key_sha256, idempotency_key=idempotency_key
    )
    return _blocked_response(outcome) if isinstance(outcome, Plan) else outcome


@router.get("/{provider}/{job_id}", summary="Status of a launched job")
async def get_deployed(provider: ProviderName, job_id: JobPath, account: CurrentAccount, parts: PartsOfRequest) -> Job:
    """Status, progress, cost and reason."""
    return await parts.deploys.status(account.user_id, job_id, provider=provider)


@router.delete("/{provider}/{job_id}", status_code=202, summary="Cancel a launched job", responses=JOB_IS_OVER)
async def cancel_deployed(
    provider: ProviderName, job_id: JobPath, account: CurrentAccount, parts: PartsOfRequest
) -> Job:
    """Ask for the end of the job. It is `cancelled` when its machine is verified gone."""
    return await parts.deploys.cancel(account.user_id, job_id, provider=provider)


def _blocked_response(plan: Plan) -> JSONResponse:
    problem = DeployBlocked(
        title="The plan cannot be launched",
        status=422,
        detail=f"{len(plan.blocking)} faults stand in the way; nothing was launched.",
        code="plan_blocked",
        next_step=plan.blocking[0].next_step,
        errors=[FieldFault(field=fault.code, message=f"{fault.message} {fault.next_step}") for fault in plan.blocking],
        trace_id=current_trace_id(),
        plan_id=plan.plan_id,
        blocking=plan.blocking,
    )
    return JSONResponse(problem.model_dump(mode="json"), status_code=422, media_type=PROBLEM_MEDIA_TYPE)

"""`/v1/plans`."""

from fastapi import APIRouter

from stoker_api.dependencies import CurrentAccount, PartsOfRequest
from stoker_api.plans.schemas import NewPlan, Plan
from stoker_api.responses import NOT_FOUND, UNAUTHORISED, UNAVAILABLE

router = APIRouter(prefix="/v1/plans", tags=["plans"], responses={**UNAUTHORISED, **NOT_FOUND})


@router.post("", status_code=201, summary="Make a plan", responses=UNAVAILABLE)
async def create_plan(wanted: NewPlan, account: CurrentAccount, parts: PartsOfRequest) -> Plan:
    """Check dataset, model, provider, memory and money, and freeze the result under `plan_hash`.

    A plan with `blocking` faults is stored and shown too; it cannot be launched. Every fault says what to do next.
    """
    return await parts.plans.create(account.user_id, wanted)


@router.get("/{plan_id}", summary="Get a plan")
async def get_plan(plan_id: str, account: CurrentAccount, parts: PartsOfRequest) -> Plan:
    """The plan as it was made. Values of environment variables are not shown."""
    return await parts.plans.get(account.user_id, plan_id)

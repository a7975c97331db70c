"""`/v1/budgets`: asked of the deployer, which refuses what they do not cover."""

from fastapi import APIRouter

from stoker_api.budgets.schemas import NewLimit, NewProjectLimit
from stoker_api.dependencies import CurrentAccount, PartsOfRequest
from stoker_api.responses import UNAUTHORISED, UNAVAILABLE
from stoker_shared.money import MicroUsd, usd
from stoker_shared.rpc.deployer import BUDGETS, SET_BUDGET, BudgetFacts, BudgetList, BudgetsQuery, SetBudget

router = APIRouter(prefix="/v1/budgets", tags=["budgets"], responses={**UNAUTHORISED, **UNAVAILABLE})


@router.get("", summary="List budgets")
async def list_budgets(account: CurrentAccount, parts: PartsOfRequest) -> BudgetList:
    """Your own budget and those of your projects: the limit, and what jobs hold or have spent of it."""
    return await parts.rpc.ask(BUDGETS, BudgetsQuery(owner=account.user_id))


@router.put("/user", summary="Set your budget")
async def set_user_budget(wanted: NewLimit, account: CurrentAccount, parts: PartsOfRequest) -> BudgetFacts:
    """What all your jobs together may cost. Attempts that run are not stopped by a lower limit: they land in time."""
    order = SetBudget(owner=account.user_id, kind="user", limit_micro_usd=_micro_usd(wanted))
    return await parts.rpc.ask(SET_BUDGET, order)


@router.put("/project", summary="Set the budget of a project")
async def set_project_budget(wanted: NewProjectLimit, account: CurrentAccount, parts: PartsOfRequest) -> BudgetFacts:
    """What all jobs of a project together may cost, within your own budget."""
    order = SetBudget(owner=account.user_id, kind="project", name=wanted.project, limit_micro_usd=_micro_usd(wanted))
    return await parts.rpc.ask(SET_BUDGET, order)


def _micro_usd(wanted: NewLimit) -> MicroUsd | None:
    return None if wanted.limit_usd is None else usd(wanted.limit_usd)

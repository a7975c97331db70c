"""`/v1/me`."""

from fastapi import APIRouter

from stoker_api.accounts.schemas import Account
from stoker_api.dependencies import CurrentAccount
from stoker_api.responses import UNAUTHORISED

router = APIRouter(prefix="/v1", tags=["account"], responses=UNAUTHORISED)


@router.get("/me", summary="Who am I")
async def me(account: CurrentAccount) -> Account:
    """The user that the API key belongs to."""
    return account

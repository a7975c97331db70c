"""What endpoints get handed: the parts of the application and the account of the caller."""

from dataclasses import dataclass
from typing import Annotated, cast

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from stoker_api.accounts.schemas import Account
from stoker_api.accounts.service import AccountService, key_hash_of
from stoker_api.deploy.service import DeployService
from stoker_api.diagnosis.service import DiagnosisService
from stoker_api.following.stream import JobFollower
from stoker_api.jobs.launching import LaunchService
from stoker_api.jobs.service import JobService
from stoker_api.plans.service import PlanService
from stoker_api.recipes.service import RecipeService
from stoker_shared.bus import RpcClient
from stoker_shared.web import bearer_token

_documented = HTTPBearer(auto_error=False, bearerFormat="stk_...", description="An API key")


@dataclass(frozen=True, slots=True)
class Parts:
    """The services behind the endpoints; made in `main`."""

    accounts: AccountService
    recipes: RecipeService
    plans: PlanService
    launches: LaunchService
    jobs: JobService
    follower: JobFollower
    deploys: DeployService
    diagnosis: DiagnosisService
    rpc: RpcClient


def parts_of(request: Request) -> Parts:
    """The parts of the application that serves this request."""
    return cast(Parts, request.app.state.parts)


async def presented_key(
    request: Request, _scheme: Annotated[HTTPAuthorizationCredentials | None, Depends(_documented)]
) -> str:
    """The SHA-256 of the key in the request, not yet looked up.

    Raises:
        Unauthorised: there is no key.
    """
    return key_hash_of(bearer_token(request))


PartsOfRequest = Annotated[Parts, Depends(parts_of)]
PresentedKey = Annotated[str, Depends(presented_key)]


async def current_account(key_sha256: PresentedKey, parts: PartsOfRequest) -> Account:
    """The account of the caller.

    Raises:
        Unauthorised: the key is unknown, expired or revoked.
    """
    return await parts.accounts.sign_in(key_sha256)


CurrentAccount = Annotated[Account, Depends(current_account)]

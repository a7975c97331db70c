"""`/v1/providers` and `/v1/offers`: asked of the deployer."""

from typing import Annotated

from fastapi import APIRouter, Query

from stoker_api.dependencies import CurrentAccount, PartsOfRequest
from stoker_api.responses import UNAUTHORISED, UNAVAILABLE
from stoker_shared.rpc.deployer import HEALTH, OFFERS, HealthQuery, OfferList, OffersQuery, ProvidersHealth

router = APIRouter(prefix="/v1", tags=["providers"], responses={**UNAUTHORISED, **UNAVAILABLE})


@router.get("/providers", summary="List providers")
async def list_providers(account: CurrentAccount, parts: PartsOfRequest) -> ProvidersHealth:
    """Each provider, whether you can use it, and what to do if not."""
    return await parts.rpc.ask(HEALTH, HealthQuery(owner=account.user_id))


@router.get("/offers", summary="List offers")
async def list_offers(
    account: CurrentAccount,
    parts: PartsOfRequest,
    provider: str | None = None,
    gpu_type: str | None = None,
    gpu_count: Annotated[int | None, Query(ge=0, le=64)] = None,
    volume_size_gb: Annotated[int | None, Query(ge=1, le=65_536)] = None,
) -> OfferList:
    """What you can rent now, cheapest first. `faults` names providers that could not be asked."""
    query = OffersQuery(
        owner=account.user_id,
        provider=provider,
        gpu_type=gpu_type,
        gpu_count=gpu_count,
        volume_size_gb=volume_size_gb,
    )
    return await parts.rpc.ask(OFFERS, query)

"""Asking the other services for the facts of a plan, all at once."""

import asyncio

from stoker_api.plans.situation import GatheredFacts
from stoker_shared.bus import RpcClient
from stoker_shared.errors import RemoteRefusal
from stoker_shared.rpc.contract import RequestT, ResponseT, Rpc
from stoker_shared.rpc.dataset_gateway import DESCRIBE, DatasetFacts, DescribeDataset
from stoker_shared.rpc.deployer import (
    HEALTH,
    INSPECT_MODEL,
    OFFERS,
    HealthQuery,
    InspectModel,
    OfferList,
    OffersQuery,
)


class FactGatherer:
    """Asks; decides nothing."""

    def __init__(self, rpc: RpcClient) -> None:
        self._rpc = rpc

    async def gather(self, dataset: DescribeDataset, *, model: InspectModel, offers: OffersQuery) -> GatheredFacts:
        """All facts of a plan.

        Raises:
            RemoteRefusal: the dataset is not this owner's, or does not exist.
            ServiceUnavailable: a service is away, so nothing can be said.
        """
        described, inspected, offered, health = await asyncio.gather(
            self._rpc.ask(DESCRIBE, dataset),
            self._ask_or_refusal(INSPECT_MODEL, model),
            self._ask_or_refusal(OFFERS, offers),
            self._rpc.ask(HEALTH, HealthQuery()),
        )
        return GatheredFacts(dataset=described, model=inspected, offers=offered, providers=health.providers)

    async def look_again(
        self, dataset: DescribeDataset, *, offers: OffersQuery
    ) -> tuple[DatasetFacts | RemoteRefusal, OfferList | RemoteRefusal]:
        """What may have changed since a plan was made.

        Raises:
            ServiceUnavailable: a service is away.
        """
        return await asyncio.gather(
            self._ask_or_refusal(DESCRIBE, dataset),
            self._ask_or_refusal(OFFERS, offers),
        )

    async def _ask_or_refusal(self, rpc: Rpc[RequestT, ResponseT], request: RequestT) -> ResponseT | RemoteRefusal:
        try:
            return await self._rpc.ask(rpc, request)
        except RemoteRefusal as refusal:
            return refusal

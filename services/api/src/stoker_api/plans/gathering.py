"""Asking the other services for the facts of a plan, all at once."""

import asyncio
from dataclasses import replace
from datetime import timedelta

from stoker_api.plans.situation import GatheredFacts
from stoker_shared.bus import RpcClient
from stoker_shared.errors import RemoteRefusal, ServiceUnavailable
from stoker_shared.logging import get_logger
from stoker_shared.rpc.contract import RequestT, ResponseT, Rpc
from stoker_shared.rpc.dataset_gateway import (
    DESCRIBE,
    TOKEN_STATISTICS,
    DatasetFacts,
    DescribeDataset,
    MeasureTokens,
    TokenStatistics,
)
from stoker_shared.rpc.deployer import (
    HEALTH,
    INSPECT_MODEL,
    OFFERS,
    HealthQuery,
    InspectModel,
    ModelFacts,
    OfferList,
    OffersQuery,
)

logger = get_logger(__name__)


class FactGatherer:
    """Asks; decides nothing."""

    def __init__(self, rpc: RpcClient, *, token_count_patience: timedelta) -> None:
        self._rpc = rpc
        # Counting may take longer than anybody waits for a plan.
        self._count_tokens = replace(TOKEN_STATISTICS, timeout=min(token_count_patience, TOKEN_STATISTICS.timeout))

    async def gather(
        self, dataset: DescribeDataset, *, model: InspectModel, offers: OffersQuery, max_length: int
    ) -> GatheredFacts:
        """All facts of a plan. `max_length` in tokens, as the recipe has it.

        Raises:
            RemoteRefusal: the dataset is not this owner's, or does not exist.
            ServiceUnavailable: a service is away, so nothing can be said.
        """
        (described, inspected, tokens), offered, health = await asyncio.gather(
            self._dataset_and_model(dataset, model=model, max_length=max_length),
            self._ask_or_refusal(OFFERS, offers),
            self._rpc.ask(HEALTH, HealthQuery(owner=dataset.owner)),
        )
        return GatheredFacts(
            dataset=described, model=inspected, offers=offered, providers=health.providers, tokens=tokens
        )

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

    async def offers(self, query: OffersQuery) -> OfferList | RemoteRefusal:
        """What can be rented now.

        Raises:
            ServiceUnavailable: the deployer is away.
        """
        return await self._ask_or_refusal(OFFERS, query)

    async def _dataset_and_model(
        self, dataset: DescribeDataset, *, model: InspectModel, max_length: int
    ) -> tuple[DatasetFacts, ModelFacts | RemoteRefusal, TokenStatistics | RemoteRefusal | ServiceUnavailable | None]:
        described, inspected = await asyncio.gather(
            self._rpc.ask(DESCRIBE, dataset),
            self._ask_or_refusal(INSPECT_MODEL, model),
        )
        if described.state != "stored" or not isinstance(inspected, ModelFacts):
            return described, inspected, None
        measure = MeasureTokens(
            owner=dataset.owner,
            dataset_version_id=dataset.dataset_version_id,
            name_or_path=model.name_or_path,
            max_length=max_length,
        )
        return described, inspected, await self._tokens(measure)

    async def _tokens(self, measure: MeasureTokens) -> TokenStatistics | RemoteRefusal | ServiceUnavailable:
        try:
            return await self._rpc.ask(self._count_tokens, measure)
        except (RemoteRefusal, ServiceUnavailable) as error:
            logger.warning("tokens not counted", dataset=measure.dataset_version_id, reason=error.detail)
            return error

    async def _ask_or_refusal(self, rpc: Rpc[RequestT, ResponseT], request: RequestT) -> ResponseT | RemoteRefusal:
        try:
            return await self._rpc.ask(rpc, request)
        except RemoteRefusal as refusal:
            return refusal

"""The answers."""

import asyncio
from collections import defaultdict
from collections.abc import Mapping

from stoker_deployer.jobs.repository import JobRepository
from stoker_deployer.providers import Provider
from stoker_deployer.providers.errors import ProviderNotConfigured
from stoker_deployer.strays.repository import StrayRepository
from stoker_shared.database import Database
from stoker_shared.errors import NotFound, ProviderError, ServiceUnavailable
from stoker_shared.logging import get_logger
from stoker_shared.rpc.deployer import (
    HealthQuery,
    InspectModel,
    MachineLogs,
    MachineLogsQuery,
    ModelFacts,
    Offer,
    OfferList,
    OffersQuery,
    ProviderFault,
    ProvidersHealth,
    UnknownMachine,
)

logger = get_logger(__name__)


class Answers:
    """Questions about providers; nothing here changes anything."""

    def __init__(self, database: Database, jobs: JobRepository, providers: Mapping[str, Provider]) -> None:
        self._database = database
        self._jobs = jobs
        self._providers = providers
        self._strays = StrayRepository()

    async def offers(self, query: OffersQuery) -> OfferList:
        """What can be rented now, cheapest first; a provider that does not answer is named with its fault."""
        asked = self._providers.values() if query.provider is None else [self._provider(query.provider)]
        answers = await asyncio.gather(*(_offers_or_fault(provider, query) for provider in asked))
        offers = [offer for found, _ in answers for offer in found]
        faults = [fault for _, fault in answers if fault is not None]
        return OfferList(offers=sorted(offers, key=lambda offer: offer.price_micro_usd_per_hour), faults=faults)

    async def inspect_model(self, question: InspectModel) -> ModelFacts:
        """What a provider's machines would find."""
        return await self._provider(question.provider).inspect_model(question.name_or_path)

    async def health(self, _question: HealthQuery) -> ProvidersHealth:
        """Whether each configured provider can be used, and machines there that bear a name of ours but are unknown."""
        found = await asyncio.gather(*(provider.health() for provider in self._providers.values()))
        strays = await self._unknown_machines()
        told = [health.model_copy(update={"unknown_machines": strays.get(health.provider, [])}) for health in found]
        return ProvidersHealth(providers=sorted(told, key=lambda health: health.provider))

    async def _unknown_machines(self) -> dict[str, list[UnknownMachine]]:
        try:
            async with self._database.transaction() as session:
                strays = await self._strays.unknown(session)
        except ServiceUnavailable as error:
            # Whether providers can be used is told all the same.
            logger.warning("unknown machines not told", reason=error.detail)
            return {}
        machines: dict[str, list[UnknownMachine]] = defaultdict(list)
        for stray in strays:
            facts = UnknownMachine(name=stray.name, handle=stray.handle, first_seen_at=stray.first_seen_at)
            machines[stray.provider].append(facts)
        return machines

    async def logs(self, query: MachineLogsQuery) -> MachineLogs:
        """A piece of a machine's output; empty while there is no machine."""
        async with self._database.transaction() as session:
            found = await self._jobs.attempt_for(session, owner=query.owner, job_id=query.job_id, number=query.attempt)
        if found is None:
            raise NotFound("job", query.job_id)
        _, attempt = found
        if attempt is None or attempt.handle is None:
            return MachineLogs(text="", next_offset=query.offset)
        piece = await self._provider(attempt.provider).logs(attempt.handle, offset=query.offset)
        return MachineLogs(text=piece.text, next_offset=piece.next_offset)

    def _provider(self, name: str) -> Provider:
        provider = self._providers.get(name)
        if provider is None:
            raise ProviderNotConfigured(name, configured=list(self._providers))
        return provider


async def _offers_or_fault(provider: Provider, query: OffersQuery) -> tuple[list[Offer], ProviderFault | None]:
    try:
        return await provider.offers(query), None
    except ProviderError as error:
        return [], ProviderFault(
            provider=provider.name, code=error.code, detail=error.detail, next_step=error.next_step
        )

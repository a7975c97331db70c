"""The answers."""

import asyncio
from collections import defaultdict

from pydantic import SecretStr

from stoker_deployer.jobs.repository import JobRepository
from stoker_deployer.providers import Provider
from stoker_deployer.providers.accounts import AccountMissing, Accounts, Keys
from stoker_deployer.providers.errors import ProviderNotConfigured
from stoker_deployer.providers.hub import HUB_SECRET
from stoker_deployer.strays.repository import StrayRepository
from stoker_deployer.vault.errors import SecretNotSet
from stoker_shared.database import Database
from stoker_shared.errors import NotFound, ProviderError, ServiceUnavailable, StokerError, UnknownOutcome
from stoker_shared.logging import get_logger
from stoker_shared.rpc.deployer import (
    HEALTH,
    OFFERS,
    HealthQuery,
    InspectModel,
    MachineLogs,
    MachineLogsQuery,
    ModelFacts,
    Offer,
    OfferList,
    OffersQuery,
    ProviderFault,
    ProviderHealth,
    ProvidersHealth,
    UnknownMachine,
)

logger = get_logger(__name__)

# Whoever asks waits a little longer: a provider that is slow does not keep from being told what the others say.
_PATIENCE = min(OFFERS.timeout, HEALTH.timeout) * 2 / 3


class Answers:
    """Questions about providers; nothing here changes anything."""

    def __init__(self, database: Database, jobs: JobRepository, accounts: Accounts, keys: Keys) -> None:
        self._database = database
        self._jobs = jobs
        self._accounts = accounts
        self._keys = keys
        self._strays = StrayRepository()

    async def offers(self, query: OffersQuery) -> OfferList:
        """What can be rented now, cheapest first; a provider that does not answer is named with its fault."""
        if query.provider is None:
            answers = await asyncio.gather(*(self._offers_of(name, query) for name in sorted(self._accounts.names)))
        else:
            answers = [await _offers_or_fault(await self._provider(query.provider, query.owner), query)]
        offers = [offer for found, _ in answers for offer in found]
        faults = [fault for _, fault in answers if fault is not None]
        return OfferList(offers=sorted(offers, key=lambda offer: offer.price_micro_usd_per_hour), faults=faults)

    async def _offers_of(self, name: str, query: OffersQuery) -> tuple[list[Offer], ProviderFault | None]:
        try:
            provider = await self._accounts.of(name, query.owner)
        except AccountMissing:
            return [], None  # it waits for a key of the owner's, which is no fault of it
        except ServiceUnavailable as error:
            return [], _fault(name, error)
        return await _offers_or_fault(provider, query)

    async def inspect_model(self, question: InspectModel) -> ModelFacts:
        """What a provider's machines would find, with the Hub token that the owner asks for."""
        provider = await self._provider(question.provider, question.owner)
        return await provider.inspect_model(question.name_or_path, hub_token=await self._hub_token(question))

    async def _hub_token(self, question: InspectModel) -> SecretStr | None:
        if HUB_SECRET not in question.secrets:
            return None
        held = await self._keys.key(question.owner, HUB_SECRET)
        if held is None:
            raise SecretNotSet(HUB_SECRET)
        return held.secret

    async def health(self, question: HealthQuery) -> ProvidersHealth:
        """Whether an owner can use which provider, and machines there that bear a name of ours but are unknown.

        A provider for which the owner has no key is told as one that cannot be used, with what to do.
        """
        found = await asyncio.gather(*(self._health(name, question.owner) for name in self._accounts.names))
        strays = await self._unknown_machines(question.owner)
        told = [health.model_copy(update={"unknown_machines": strays.get(health.provider, [])}) for health in found]
        return ProvidersHealth(providers=sorted(told, key=lambda health: health.provider))

    async def _health(self, name: str, owner: str) -> ProviderHealth:
        try:
            provider = await self._accounts.of(name, owner)
        except AccountMissing as error:
            return ProviderHealth(
                provider=name, is_usable=False, is_set_up=False, detail=error.detail, next_step=error.next_step
            )
        except ServiceUnavailable as error:
            return ProviderHealth(provider=name, is_usable=False, detail=error.detail, next_step=error.next_step)
        try:
            async with asyncio.timeout(_PATIENCE.total_seconds()):
                return await provider.health()
        except TimeoutError:
            slow = _too_slow(name)
            return ProviderHealth(provider=name, is_usable=False, detail=slow.detail, next_step=slow.next_step)

    async def _unknown_machines(self, owner: str) -> dict[str, list[UnknownMachine]]:
        try:
            async with self._database.transaction() as session:
                strays = await self._strays.unknown(session, owner)
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
        if attempt.provider not in self._accounts.names:
            raise ProviderNotConfigured(attempt.provider, configured=list(self._accounts.names))
        provider = await self._accounts.of_attempt(attempt)
        piece = await provider.logs(attempt.handle, offset=query.offset)
        return MachineLogs(text=piece.text, next_offset=piece.next_offset)

    async def _provider(self, name: str, owner: str) -> Provider:
        if name not in self._accounts.names:
            raise ProviderNotConfigured(name, configured=list(self._accounts.names))
        return await self._accounts.of(name, owner)


async def _offers_or_fault(provider: Provider, query: OffersQuery) -> tuple[list[Offer], ProviderFault | None]:
    try:
        async with asyncio.timeout(_PATIENCE.total_seconds()):
            return await provider.offers(query), None
    except TimeoutError:
        return [], _fault(provider.name, _too_slow(provider.name))
    except ProviderError as error:
        return [], _fault(provider.name, error)


def _too_slow(provider: str) -> UnknownOutcome:
    return UnknownOutcome(
        provider, f"no answer within {_PATIENCE.total_seconds():.0f} s", next_step="Try again in a few minutes."
    )


def _fault(provider: str, error: StokerError) -> ProviderFault:
    return ProviderFault(provider=provider, code=error.code, detail=error.detail, next_step=error.next_step)

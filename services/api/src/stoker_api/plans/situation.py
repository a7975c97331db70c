"""All that is known when a plan is judged; what `faults` looks at."""

from dataclasses import dataclass, field
from datetime import timedelta

from stoker_api.plans.disk import DiskNeed
from stoker_api.plans.forecast import Forecast
from stoker_api.plans.memory import MemoryNeed
from stoker_api.plans.schemas import RankedOffer
from stoker_api.plans.tokens import TokenLengths
from stoker_shared.errors import RemoteRefusal, ServiceUnavailable
from stoker_shared.recipe import Recipe
from stoker_shared.rpc.dataset_gateway import DatasetFacts, TokenStatistics
from stoker_shared.rpc.deployer import ModelFacts, OfferList, ProviderHealth


@dataclass(frozen=True, slots=True)
class GatheredFacts:
    """Answers of the other services. A refusal stands where an answer was refused; an absent service raises.

    A plan can do without `tokens`, so an absent service stands there too; None if there was nothing to ask about.
    """

    dataset: DatasetFacts
    model: ModelFacts | RemoteRefusal
    offers: OfferList | RemoteRefusal
    providers: list[ProviderHealth]
    tokens: TokenStatistics | RemoteRefusal | ServiceUnavailable | None


@dataclass(frozen=True, slots=True)
class Situation:
    """The facts and what was computed from them. `ranked` is best first."""

    recipe: Recipe
    provider: str
    facts: GatheredFacts
    ranked: list[RankedOffer]
    need: MemoryNeed | None
    tokens: TokenLengths | None
    forecast: Forecast | None
    budget_micro_usd: int
    minimum_micro_usd: int
    max_duration: timedelta
    keep_alive: timedelta = timedelta(0)
    disk: DiskNeed | None = None
    # What is ordered: the user's word, or what the run needs.
    volume_size_gb: int | None = None
    # URL by name of the setting under which an operator can change it.
    public_urls: dict[str, str] = field(default_factory=dict)
    gpu_wanted: str = "any machine"
    ceiling_micro_usd_per_hour: int | None = None

    @property
    def fitting_offers(self) -> list[RankedOffer]:
        """Those into which the run fits, or may fit."""
        return [ranked for ranked in self.ranked if ranked.fit != "does_not_fit"]

    @property
    def launchable_offers(self) -> list[RankedOffer]:
        """Those of them that may be paid for."""
        ceiling = self.ceiling_micro_usd_per_hour
        return [
            ranked
            for ranked in self.fitting_offers
            if ceiling is None or ranked.offer.price_micro_usd_per_hour <= ceiling
        ]

    @property
    def health(self) -> ProviderHealth | None:
        """The provider's health, None if it is not configured."""
        return next((health for health in self.facts.providers if health.provider == self.provider), None)

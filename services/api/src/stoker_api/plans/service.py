"""Making plans."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal

from stoker_api.plans.disk import Disk, disk_need, volume_for
from stoker_api.plans.faults import blocking_faults, warnings
from stoker_api.plans.forecast import Forecast, forecast
from stoker_api.plans.freeze import DISK_NEEDED_UNKNOWN, FrozenPlan, freeze
from stoker_api.plans.gathering import FactGatherer
from stoker_api.plans.memory import MemoryNeed, capacity, memory_need, verdict
from stoker_api.plans.repository import PlanRepository
from stoker_api.plans.schemas import Budget, Fit, NewPlan, Plan, RankedOffer
from stoker_api.plans.situation import GatheredFacts, Situation
from stoker_api.plans.tables import PlanRow
from stoker_api.plans.tokens import TokenLengths, token_lengths
from stoker_api.recipes.service import RecipeService
from stoker_shared.clock import Clock
from stoker_shared.commands import PlannedOffer
from stoker_shared.database import Database
from stoker_shared.errors import NotFound
from stoker_shared.identifiers import new_identifier
from stoker_shared.money import MicroUsd, cost_of, usd
from stoker_shared.recipe import Recipe
from stoker_shared.rpc.dataset_gateway import DescribeDataset
from stoker_shared.rpc.deployer import InspectModel, ModelFacts, Offer, OfferList, OffersQuery

_FIT_ORDER = {"fits": 0, "unknown": 1, "does_not_fit": 2}
# On top of the highest forecast, when the user names no budget.
_BUDGET_MARGIN_PERCENT = 25
# More alternatives than any job tries; keeps the launch command small.
_MOST_OFFERS = 50


@dataclass(frozen=True, slots=True)
class PlanPolicy:
    """The operator's choices; from the settings."""

    lifetime: timedelta
    minimum_reservation: timedelta
    default_budget_floor: MicroUsd
    default_max_attempts: int
    default_max_duration: timedelta
    public_urls: Mapping[str, str]


class PlanService:
    """Gathers, judges, prices and freezes."""

    def __init__(
        self,
        database: Database,
        *,
        gatherer: FactGatherer,
        recipes: RecipeService,
        clock: Clock,
        policy: PlanPolicy,
    ) -> None:
        self._database = database
        self._gatherer = gatherer
        self._recipes = recipes
        self._clock = clock
        self._policy = policy
        self._rows = PlanRepository()

    async def create(self, owner: str, wanted: NewPlan) -> Plan:
        """Make a plan and store it, whether or not it can be launched.

        Raises:
            NotFound, RemoteRefusal: the recipe or the dataset is not this owner's.
            ServiceUnavailable: a service that has to be asked is away.
        """
        recipe = wanted.recipe
        if recipe is None:
            recipe = (await self._recipes.get(owner, wanted.recipe_id or "")).recipe
        offers = OffersQuery(
            owner=owner,
            provider=wanted.provider,
            gpu_type=wanted.gpu_type,
            gpu_count=wanted.gpu_count,
            volume_size_gb=wanted.volume_size_gb,
        )
        facts = await self._gatherer.gather(
            DescribeDataset(owner=owner, dataset_version_id=wanted.dataset_version_id),
            model=InspectModel(
                owner=owner,
                provider=wanted.provider,
                name_or_path=recipe.model.name_or_path,
                secrets=sorted(wanted.secrets),
            ),
            offers=offers,
            max_length=recipe.batch.max_length,
        )
        situation = judge(wanted, recipe=recipe, facts=facts, policy=self._policy)
        if situation.volume_size_gb != offers.volume_size_gb:
            # The run needs a larger volume than what was priced in.
            larger = offers.model_copy(update={"volume_size_gb": situation.volume_size_gb})
            facts = replace(facts, offers=await self._gatherer.offers(larger))
            situation = judge(wanted, recipe=recipe, facts=facts, policy=self._policy)
        return await self._store(owner, wanted=wanted, situation=situation)

    async def get(self, owner: str, plan_id: str) -> Plan:
        """A stored plan, as it was shown when it was made.

        Raises:
            NotFound: there is none of this owner.
        """
        async with self._database.transaction() as session:
            row = await self._rows.find(session, owner=owner, plan_id=plan_id)
        if row is None:
            raise NotFound("plan", plan_id)
        return Plan.model_validate(row.answer)

    async def _store(self, owner: str, *, wanted: NewPlan, situation: Situation) -> Plan:
        frozen = _frozen(owner, wanted=wanted, situation=situation, policy=self._policy)
        text, plan_hash = freeze(frozen)
        blocking = blocking_faults(situation)
        now = self._clock.now()
        plan = Plan(
            plan_id=new_identifier("plan"),
            plan_hash=plan_hash,
            name=_name(situation),
            is_launchable=not blocking,
            blocking=blocking,
            warnings=warnings(situation),
            dataset=situation.facts.dataset,
            model=situation.facts.model if isinstance(situation.facts.model, ModelFacts) else None,
            tokens=situation.tokens,
            fit=_fit(situation),
            disk=_disk(situation),
            offers=situation.ranked,
            forecast=situation.forecast,
            budget=Budget(
                budget_micro_usd=situation.budget_micro_usd,
                minimum_micro_usd=situation.minimum_micro_usd,
                is_default=wanted.budget_usd is None,
            ),
            frozen=frozen,
            created_at=now,
            expires_at=now + self._policy.lifetime,
        )
        row = PlanRow(
            id=plan.plan_id,
            owner=owner,
            name=plan.name,
            provider=wanted.provider,
            plan_hash=plan_hash,
            frozen=text,
            answer=plan.model_dump(mode="json"),
            environment=wanted.environment,
            is_launchable=plan.is_launchable,
            created_at=now,
            expires_at=plan.expires_at,
            checked_at=now,
        )
        async with self._database.transaction() as session:
            await self._rows.add(session, row)
        return plan


def judge(wanted: NewPlan, *, recipe: Recipe, facts: GatheredFacts, policy: PlanPolicy) -> Situation:
    """Compute fit, forecast and budget from the facts."""
    model = facts.model if isinstance(facts.model, ModelFacts) else None
    ranked = rank_offers(facts.offers.offers if isinstance(facts.offers, OfferList) else [], model=model, recipe=recipe)
    best = ranked[0].offer if ranked else None
    tokens = _tokens(facts, recipe=recipe)
    need, disk = _need(model, recipe=recipe, offer=best), None
    if model is not None and need is not None and best is not None and tokens is not None:
        on_gpu = best.gpu_count > 0
        disk = disk_need(model, recipe, dataset=facts.dataset, tokens=tokens, memory=need, on_gpu=on_gpu)
    keep_alive = timedelta(seconds=wanted.keep_alive_seconds)
    predicted = None
    if model is not None and best is not None and tokens is not None:
        predicted = forecast(model, recipe, tokens=tokens, offer=best, keep_alive=keep_alive)
    least = policy.minimum_reservation + keep_alive
    minimum = cost_of(least, MicroUsd(best.price_micro_usd_per_hour)) if best else MicroUsd(0)
    given = wanted.max_duration_seconds
    return Situation(
        recipe=recipe,
        provider=wanted.provider,
        facts=facts,
        ranked=ranked,
        need=need,
        tokens=tokens,
        forecast=predicted,
        budget_micro_usd=_budget(wanted, predicted=predicted, minimum=minimum, floor=policy.default_budget_floor),
        minimum_micro_usd=minimum,
        keep_alive=keep_alive,
        disk=disk,
        volume_size_gb=volume_for(disk, wanted=wanted.volume_size_gb, default=_default_volume_gb(wanted, facts)),
        max_duration=policy.default_max_duration if given is None else timedelta(seconds=given),
        public_urls=dict(policy.public_urls),
        gpu_wanted=_gpu_wanted(wanted),
        ceiling_micro_usd_per_hour=_micro_usd(wanted.max_price_usd_per_hour),
    )


def rank_offers(offers: list[Offer], *, model: ModelFacts | None, recipe: Recipe) -> list[RankedOffer]:
    """Offers by fit, then free before taken, then price."""
    ranked = [_ranked(offer, need=_need(model, recipe=recipe, offer=offer)) for offer in offers]
    return sorted(
        ranked,
        key=lambda candidate: (
            _FIT_ORDER[candidate.fit],
            not candidate.offer.is_available,
            candidate.offer.price_micro_usd_per_hour,
            candidate.offer.gpu_type,
            candidate.offer.place,
        ),
    )


def _ranked(offer: Offer, *, need: MemoryNeed | None) -> RankedOffer:
    if need is None:
        return RankedOffer(offer=offer, fit="unknown", capacity_bytes=capacity(offer))
    return RankedOffer(offer=offer, fit=verdict(need, offer), needed_bytes=need.needed, capacity_bytes=capacity(offer))


def _need(model: ModelFacts | None, *, recipe: Recipe, offer: Offer | None) -> MemoryNeed | None:
    if model is None or offer is None:
        return None
    return memory_need(model, recipe, on_gpu=offer.gpu_count > 0)


def _default_volume_gb(wanted: NewPlan, facts: GatheredFacts) -> int | None:
    return next((known.default_volume_gb for known in facts.providers if known.provider == wanted.provider), None)


def _tokens(facts: GatheredFacts, *, recipe: Recipe) -> TokenLengths | None:
    if facts.tokens is None:
        return None
    return token_lengths(facts.tokens, statistics=facts.dataset.statistics, max_length=recipe.batch.max_length)


def _budget(wanted: NewPlan, *, predicted: Forecast | None, minimum: int, floor: int) -> int:
    if wanted.budget_usd is not None:
        return usd(wanted.budget_usd)
    highest = predicted.cost_micro_usd_high if predicted else 0
    return max(highest * (100 + _BUDGET_MARGIN_PERCENT) // 100, minimum, floor)


def _frozen(owner: str, *, wanted: NewPlan, situation: Situation, policy: PlanPolicy) -> FrozenPlan:
    dataset = situation.facts.dataset
    return FrozenPlan(
        owner=owner,
        project=wanted.project,
        provider=wanted.provider,
        dataset_version_id=dataset.dataset_version_id,
        dataset_sha256=dataset.sha256,
        data_format=dataset.data_format,
        recipe=situation.recipe,
        offers=[_planned(ranked.offer) for ranked in situation.launchable_offers[:_MOST_OFFERS]],
        budget_micro_usd=situation.budget_micro_usd,
        max_price_micro_usd_per_hour=situation.ceiling_micro_usd_per_hour,
        max_attempts=wanted.max_attempts or policy.default_max_attempts,
        max_duration_seconds=int(situation.max_duration.total_seconds()),
        docker_image=wanted.docker_image,
        volume_size_gb=situation.volume_size_gb,
        disk_needed_bytes=situation.disk.total if situation.disk else DISK_NEEDED_UNKNOWN,
        keep_alive_seconds=wanted.keep_alive_seconds,
        environment_names=sorted(wanted.environment),
        secrets=sorted(wanted.secrets),
    )


def _micro_usd(amount: Decimal | None) -> MicroUsd | None:
    return None if amount is None else usd(amount)


def _planned(offer: Offer) -> PlannedOffer:
    return PlannedOffer(
        provider=offer.provider,
        gpu_type=offer.gpu_type,
        gpu_count=offer.gpu_count,
        place=offer.place,
        price_micro_usd_per_hour=offer.price_micro_usd_per_hour,
        vram_bytes=offer.vram_bytes,
    )


def _fit(situation: Situation) -> Fit | None:
    need = situation.need
    if need is None:
        return None
    on_gpu = situation.ranked[0].offer.gpu_count > 0
    return Fit(need=need, total_bytes=need.total, needed_bytes=need.needed, on_gpu=on_gpu)


def _disk(situation: Situation) -> Disk | None:
    need = situation.disk
    if need is None:
        return None
    return Disk(
        need=need,
        total_bytes=need.total,
        least_volume_gb=need.least_volume_gb,
        volume_size_gb=situation.volume_size_gb,
    )


def _name(situation: Situation) -> str:
    model = situation.recipe.model.name_or_path.rstrip("/").rpartition("/")[2]
    return f"{model} on {situation.facts.dataset.name}"[:200]


def _gpu_wanted(wanted: NewPlan) -> str:
    if wanted.gpu_type is None and wanted.gpu_count is None:
        return "any machine"
    count = "" if wanted.gpu_count is None else f"{wanted.gpu_count} x "
    return f"{count}{wanted.gpu_type or 'any GPU'}"

"""The walk over a plan's ranked offers: which one the next attempt takes, or until when it waits for one."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from stoker_deployer.jobs.ceiling import too_dear
from stoker_deployer.jobs.view import View
from stoker_deployer.retrying.history import Past, history
from stoker_deployer.retrying.refit import DeviceBatch, fitted
from stoker_deployer.retrying.rules import RETRY, Elsewhere
from stoker_deployer.retrying.tables import OfferCooldown, key_of
from stoker_shared.commands import PlannedOffer
from stoker_shared.job_state import EndReason


@dataclass(frozen=True, slots=True)
class Chosen:
    """The offer of the next attempt, the batch on its devices, and whether the attempt may go on from a checkpoint."""

    offer: PlannedOffer
    batch: DeviceBatch
    may_resume: bool


@dataclass(frozen=True, slots=True)
class Cooling:
    """Every offer that could be taken was refused for lack of capacity a short while ago."""

    until: datetime
    why: str


@dataclass(frozen=True, slots=True)
class NoOffer:
    """None will ever do."""

    reason: EndReason
    detail: str


def choose_offer(view: View) -> Chosen | Cooling | NoOffer:
    """The best-ranked offer among those that have failed least, of those that may be taken now."""
    tried = history(view)
    usable = usable_offers(view, tried)
    if isinstance(usable, NoOffer):
        return usable
    cooling = {key: cooldown for key, cooldown in view.snapshot.cooldowns.items() if cooldown.until > view.now}
    free = [offer for offer in usable if key_of(offer) not in cooling]
    if not free:
        return _first_to_cool(view, [cooling[key_of(offer)] for offer in usable])
    failures = Counter(past.key for past in tried if _goes_elsewhere(past))
    offer = min(free, key=lambda candidate: failures[key_of(candidate)])  # the first of equals: the plan's ranking
    batch = _batch(view, offer, tried)
    if batch is None:
        raise LookupError(f"{key_of(offer)} was usable and cannot take the batch")
    return Chosen(offer, batch, may_resume=_may_resume(tried))


def _first_to_cool(view: View, cooling: Sequence[OfferCooldown]) -> Cooling:
    # While somebody tries an offer for all, its outcome may be known at any time.
    soon = view.now + view.policy.queued_check
    until, why = min(
        (min(cooldown.until, soon) if cooldown.is_being_tried else cooldown.until, cooldown.why) for cooldown in cooling
    )
    return Cooling(until, f"{len(cooling)} of {len(cooling)} offers are cooling down: {why}")


def usable_offers(view: View, tried: Sequence[Past]) -> list[PlannedOffer] | NoOffer:
    """The plan's offers that may be taken at some time after these attempts, in order; else why there is none."""
    left = list(view.job.launch.offers)
    for is_usable, refusal in _FILTERS:
        kept = [offer for offer in left if is_usable(view, offer, tried)]
        if not kept:
            return refusal(view, left, tried)
        left = kept
    return left


def _is_configured(view: View, offer: PlannedOffer, _tried: Sequence[Past]) -> bool:
    return offer.provider in view.providers


def _not_configured(view: View, offers: Sequence[PlannedOffer], _tried: Sequence[Past]) -> NoOffer:
    configured = ", ".join(sorted(view.providers)) or "none"
    return NoOffer(
        EndReason.PROVIDER_REFUSED,
        f"Provider {offers[0].provider!r} is not configured (configured: {configured}).",
    )


def _is_below_ceiling(view: View, offer: PlannedOffer, _tried: Sequence[Past]) -> bool:
    ceiling = view.job.launch.max_price_micro_usd_per_hour
    return ceiling is None or offer.price_micro_usd_per_hour <= ceiling


def _above_ceiling(view: View, _offers: Sequence[PlannedOffer], _tried: Sequence[Past]) -> NoOffer:
    return NoOffer(EndReason.PRICE_ABOVE_CEILING, too_dear(view.job.launch))


def _takes_batch(view: View, offer: PlannedOffer, tried: Sequence[Past]) -> bool:
    return _batch(view, offer, tried) is not None


def _batch_does_not_fit(view: View, offers: Sequence[PlannedOffer], _tried: Sequence[Past]) -> NoOffer:
    batch, planned = view.job.launch.recipe.batch, view.job.launch.offers[0]
    counts = ", ".join(str(count) for count in sorted({offer.gpu_count for offer in offers}))
    return NoOffer(
        EndReason.PLAN_REFUSED,
        f"{batch.per_device} rows on each of {max(1, planned.gpu_count)} devices, accumulated "
        f"{batch.gradient_accumulation} times, cannot be shared evenly by the devices on offer ({counts}).",
    )


def _may_follow(_view: View, offer: PlannedOffer, tried: Sequence[Past]) -> bool:
    return not any(_EXCLUDES[RETRY[past.reason].elsewhere](past, offer) for past in tried if past.reason in RETRY)


def _all_excluded(_view: View, _offers: Sequence[PlannedOffer], tried: Sequence[Past]) -> NoOffer:
    last = tried[-1]
    return NoOffer(last.reason, f"{last.detail} No other offer of the plan is left to try.".strip())


_FILTERS: tuple[
    tuple[
        Callable[[View, PlannedOffer, Sequence[Past]], bool],
        Callable[[View, Sequence[PlannedOffer], Sequence[Past]], NoOffer],
    ],
    ...,
] = (
    (_is_configured, _not_configured),
    (_is_below_ceiling, _above_ceiling),
    (_takes_batch, _batch_does_not_fit),
    (_may_follow, _all_excluded),
)


def _has_less_memory(past: Past, offer: PlannedOffer) -> bool:
    if past.attempt.vram_bytes is None or offer.vram_bytes is None:
        return past.attempt.gpu_type != offer.gpu_type
    return offer.vram_bytes < past.attempt.vram_bytes


_EXCLUDES: dict[Elsewhere, Callable[[Past, PlannedOffer], bool]] = {
    Elsewhere.ANYWHERE: lambda _past, _offer: False,
    Elsewhere.IF_THERE_IS: lambda _past, _offer: False,
    Elsewhere.OTHER_OFFER: lambda past, offer: past.key == key_of(offer),
    Elsewhere.OTHER_PROVIDER: lambda past, offer: past.attempt.provider == offer.provider,
    Elsewhere.NOT_SMALLER: _has_less_memory,
}


def _goes_elsewhere(past: Past) -> bool:
    rule = RETRY.get(past.reason)
    return rule is not None and rule.elsewhere == Elsewhere.IF_THERE_IS


def _batch(view: View, offer: PlannedOffer, tried: Sequence[Past]) -> DeviceBatch | None:
    return fitted(view.job.launch, offer, halvings=sum(past.reason == EndReason.OUT_OF_MEMORY for past in tried))


def _may_resume(tried: Sequence[Past]) -> bool:
    rule = RETRY.get(tried[-1].reason) if tried else None
    return rule is None or rule.resume

"""Changes to a plan, as data: each makes other wishes of the failed plan's, or says that it cannot help."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from stoker_api.diagnosis.basis import Basis, dollars
from stoker_api.plans.schemas import NewPlan
from stoker_shared.money import show_usd
from stoker_shared.recipe import Lora, Recipe, RecipePart
from stoker_shared.rpc.deployer import Offer
from stoker_shared.rpc.diagnosis import Change

_SHORTEST_LENGTH = 64
_LOWER_RATE = 5
_WARMUP = 0.1
_MORE = 2
_GIGABYTE = 10**9
_HIGHER_PRECISION = {"float16": "bfloat16", "bfloat16": "float32", "auto": "float32"}


@dataclass(frozen=True, slots=True)
class Changed:
    """Other wishes, and what differs in them."""

    wishes: NewPlan
    summary: str


@dataclass(frozen=True, slots=True)
class CannotHelp:
    """Why a change does not apply."""

    why: str


Outcome = Changed | CannotHelp


def smaller_batch(basis: Basis) -> Outcome:
    """Fewer rows at once on a device, so many more steps for one update: the effective batch stays."""
    batch = basis.frozen.recipe.batch
    factor = next((n for n in range(2, batch.per_device + 1) if batch.per_device % n == 0), None)
    if factor is None:
        return CannotHelp("A device already works on one row at a time.")
    changed = {"per_device": batch.per_device // factor, "gradient_accumulation": batch.gradient_accumulation * factor}
    summary = f"batch {changed['per_device']} x {changed['gradient_accumulation']} accumulated instead of "
    summary += f"{batch.per_device} x {batch.gradient_accumulation}; each update sees the same rows"
    return _with_recipe(basis, summary, batch=_copy(batch, **changed))


def shorter_length(basis: Basis) -> Outcome:
    """Half the length of a row."""
    batch = basis.frozen.recipe.batch
    length = batch.max_length // 2
    if length < _SHORTEST_LENGTH:
        return CannotHelp(f"Rows of {batch.max_length} tokens are short already.")
    summary = f"rows of {length} tokens at most instead of {batch.max_length}; longer ones are cut"
    return _with_recipe(basis, summary, batch=_copy(batch, max_length=length))


def use_lora(basis: Basis) -> Outcome:
    """An adapter instead of all weights."""
    if basis.frozen.recipe.lora is not None:
        return CannotHelp("It trains a LoRA adapter already.")
    return _with_recipe(basis, "a LoRA adapter instead of all weights", lora=Lora())


def larger_gpu(basis: Basis) -> Outcome:
    """The cheapest GPU with more memory."""
    had = (basis.ran_on.vram_bytes if basis.ran_on else None) or 0
    larger = [offer for offer in _free(basis) if (offer.vram_bytes or 0) > had]
    if not larger:
        return CannotHelp("No GPU with more memory is offered now.")
    return _on(basis, min(larger, key=_price))


def other_offer(basis: Basis) -> Outcome:
    """The cheapest machine of another kind with no less memory."""
    had = basis.ran_on
    others = [offer for offer in _free(basis) if had is None or offer.gpu_type != had.gpu_type]
    others = [offer for offer in others if had is None or (offer.vram_bytes or 0) >= (had.vram_bytes or 0)]
    if not others:
        return CannotHelp("No other kind of machine is offered now.")
    return _on(basis, min(others, key=_price))


def lower_learning_rate(basis: Basis) -> Outcome:
    """A fifth of the learning rate, and warm-up."""
    optimiser = basis.frozen.recipe.optimiser
    rate = float(f"{optimiser.learning_rate / _LOWER_RATE:.3g}")
    warmup = max(optimiser.warmup_ratio, _WARMUP)
    summary = f"learning rate {rate:g} instead of {optimiser.learning_rate:g}, warm-up over {warmup:.0%} of the steps"
    return _with_recipe(basis, summary, optimiser=_copy(optimiser, learning_rate=rate, warmup_ratio=warmup))


def more_disk(basis: Basis) -> Outcome:
    """Twice the volume."""
    needed = math.ceil(basis.frozen.disk_needed_bytes / _GIGABYTE)
    size = max(basis.frozen.volume_size_gb or 0, needed) * _MORE
    return _with(basis, f"a volume of {size} GB", volume_size_gb=size)


def higher_budget(basis: Basis) -> Outcome:
    """Twice the budget."""
    budget = basis.frozen.budget_micro_usd * _MORE
    return _with(basis, f"a budget of {show_usd(budget, places=2)}", budget_usd=dollars(budget))


def longer_duration(basis: Basis) -> Outcome:
    """Twice the time."""
    seconds = basis.frozen.max_duration_seconds * _MORE
    return _with(basis, f"{seconds / 3600:.3g} h at most", max_duration_seconds=seconds)


def higher_price_ceiling(basis: Basis) -> Outcome:
    """A ceiling that the cheapest free machine is under."""
    ceiling, free = basis.frozen.max_price_micro_usd_per_hour, _free(basis)
    if ceiling is None:
        return CannotHelp("The plan has no price ceiling.")
    if not free:
        return CannotHelp("No machine is free now, at any price.")
    price = max(min(_price(offer) for offer in free), ceiling)
    return _with(basis, f"up to {show_usd(price)} per hour", max_price_usd_per_hour=dollars(price))


def full_precision(basis: Basis) -> Outcome:
    """Numbers with a larger range."""
    model = basis.frozen.recipe.model
    dtype = _HIGHER_PRECISION.get(model.dtype)
    if dtype is None:
        return CannotHelp("It computes in float32 already.")
    return _with_recipe(basis, f"{dtype} instead of {model.dtype}", model=_copy(model, dtype=dtype))


def with_hub_token(basis: Basis) -> Outcome:
    """The machine sees the owner's Hub token."""
    return _with(basis, "with your Hugging Face token", secrets=basis.wishes.secrets | {"huggingface"})


def fresh_start(basis: Basis) -> Outcome:
    """A new job takes no checkpoint of another."""
    return Changed(basis.wishes, "the same plan from the first step, without earlier checkpoints")


def same_again(basis: Basis) -> Outcome:
    """The cause lay outside the plan."""
    return Changed(basis.wishes, "the same plan again")


CHANGES: dict[Change, Callable[[Basis], Outcome]] = {
    "smaller_batch": smaller_batch,
    "shorter_length": shorter_length,
    "use_lora": use_lora,
    "larger_gpu": larger_gpu,
    "other_offer": other_offer,
    "lower_learning_rate": lower_learning_rate,
    "more_disk": more_disk,
    "higher_budget": higher_budget,
    "longer_duration": longer_duration,
    "higher_price_ceiling": higher_price_ceiling,
    "full_precision": full_precision,
    "with_hub_token": with_hub_token,
    "fresh_start": fresh_start,
    "same_again": same_again,
}


def _on(basis: Basis, offer: Offer) -> Outcome:
    memory = f", {offer.vram_bytes / 2**30:.0f} GiB each" if offer.vram_bytes else ""
    summary = f"{offer.gpu_count} x {offer.gpu_type}{memory}, {show_usd(_price(offer))} per hour"
    return _with(basis, summary, gpu_type=offer.gpu_type, gpu_count=offer.gpu_count)


def _free(basis: Basis) -> list[Offer]:
    return [offer for offer in basis.offers if offer.is_available]


def _price(offer: Offer) -> int:
    return offer.price_micro_usd_per_hour


def _with(basis: Basis, summary: str, **changed: object) -> Changed:
    values = basis.wishes.model_dump(exclude={"recipe"}) | {"recipe": basis.wishes.recipe} | changed
    return Changed(NewPlan.model_validate(values), summary)


def _with_recipe(basis: Basis, summary: str, **changed: object) -> Changed:
    recipe = basis.frozen.recipe.model_copy(update=changed)
    return _with(basis, summary, recipe=Recipe.model_validate(recipe.model_dump()))


def _copy(part: RecipePart, **changed: object) -> RecipePart:
    return part.model_copy(update=changed)

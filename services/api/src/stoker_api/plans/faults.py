"""What stands in the way of a launch. Each check looks at one thing and answers with a fault or None."""

import ipaddress
from collections.abc import Callable
from urllib.parse import urlsplit

from stoker_api.plans.schemas import Fault
from stoker_api.plans.situation import Situation
from stoker_api.plans.tokens import TokenLengths
from stoker_shared.errors import RemoteRefusal
from stoker_shared.money import show_usd
from stoker_shared.recipe import METHOD_FORMATS, DataFormat
from stoker_shared.rpc.deployer import ModelFacts, OfferList

Check = Callable[[Situation], Fault | None]

# A few rows that are cut do no harm; more of them teach the model to break off.
_MUCH_TRUNCATED = 0.05


def blocking_faults(situation: Situation) -> list[Fault]:
    """Everything that must be mended before a launch, in the order of `BLOCKING`."""
    return [fault for check in BLOCKING if (fault := check(situation)) is not None]


def warnings(situation: Situation) -> list[Fault]:
    """Everything that is worth knowing before a launch."""
    return [fault for check in WARNINGS if (fault := check(situation)) is not None]


def dataset_not_stored(situation: Situation) -> Fault | None:
    """The bytes have not arrived."""
    dataset = situation.facts.dataset
    if dataset.state not in _NOT_STORED_YET:
        return None
    is_still, next_step = _NOT_STORED_YET[dataset.state]
    return Fault(
        code="dataset_not_stored",
        message=f"{dataset.filename} ({dataset.dataset_version_id}) is still being {is_still}.",
        next_step=next_step,
    )


_NOT_STORED_YET = {
    "uploading": ("uploaded", "Send the bytes to the upload URL, then plan again."),
    "checking": ("checked", "Wait for the check of its rows to end, then plan again."),
}


def dataset_rejected(situation: Situation) -> Fault | None:
    """The file has faults."""
    dataset = situation.facts.dataset
    if dataset.state != "rejected":
        return None
    first = f" The first: line {dataset.faults[0].line}: {dataset.faults[0].message}" if dataset.faults else ""
    return Fault(
        code="dataset_rejected",
        message=f"{dataset.filename} has {dataset.faults_total} faults.{first}",
        next_step=f"See GET /v1/datasets/{dataset.dataset_version_id}, mend the rows and upload the file again.",
    )


def dataset_method_mismatch(situation: Situation) -> Fault | None:
    """The rows are not what the method learns from."""
    dataset, method = situation.facts.dataset, situation.recipe.method
    if dataset.state != "stored" or dataset.data_format in METHOD_FORMATS[method]:
        return None
    found = dataset.data_format.value if dataset.data_format else "of no known format"
    fits = f"It fits: {', '.join(dataset.fits_methods)}." if dataset.fits_methods else "It fits no method known here."
    wanted = ", ".join(sorted(METHOD_FORMATS[method]))
    return Fault(
        code="dataset_method_mismatch",
        message=f"The rows of {dataset.filename} are {found}; {method.value} needs {wanted}. {fits}",
        next_step="Choose a method that fits, or change the columns of the dataset.",
    )


def provider_not_usable(situation: Situation) -> Fault | None:
    """The provider is not configured, or cannot be used."""
    health = situation.health
    if health is None:
        configured = ", ".join(sorted(known.provider for known in situation.facts.providers)) or "none"
        return Fault(
            code="provider_not_configured",
            message=f"There is no provider {situation.provider!r}. Configured: {configured}.",
            next_step="Choose a configured provider, or have your operator configure this one.",
        )
    if not health.is_usable:
        return Fault(
            code="provider_not_usable",
            message=f"{situation.provider} cannot be used: {health.detail or 'it gave no reason'}",
            next_step=health.next_step or "GET /v1/providers says more; ask your operator.",
        )
    return _provider_refused(situation)


def _provider_refused(situation: Situation) -> Fault | None:
    offers = situation.facts.offers
    if isinstance(offers, RemoteRefusal):
        return Fault(code="provider_not_usable", message=offers.detail, next_step=offers.next_step)
    for fault in offers.faults:
        if fault.provider == situation.provider:
            return Fault(
                code="provider_not_usable",
                message=f"{fault.provider} could not be asked for offers: {fault.detail}",
                next_step=fault.next_step or "GET /v1/providers says more; ask your operator.",
            )
    return None


def model_not_found(situation: Situation) -> Fault | None:
    """The base model cannot be resolved where it would be trained."""
    refusal = situation.facts.model
    if not isinstance(refusal, RemoteRefusal):
        return None
    if refusal.remote_code != "model_not_found" and provider_not_usable(situation) is not None:
        return None  # told once: whoever cannot be used cannot look at a model either
    return Fault(
        code=refusal.remote_code if refusal.remote_code in _MODEL_FAULTS else "model_not_inspected",
        message=refusal.detail,
        next_step=refusal.next_step or "Check recipe.model.name_or_path.",
    )


# What is wrong with the model, or with the token that it is asked for with; anything else says nothing about it.
_MODEL_FAULTS = frozenset(
    {"model_not_found", "model_gated", "model_no_access", "model_unusable", "hub_token_refused", "secret_not_set"}
)


def no_offers(situation: Situation) -> Fault | None:
    """Nothing of the kind can be rented."""
    offers = situation.facts.offers
    if situation.ranked or isinstance(offers, RemoteRefusal) or provider_not_usable(situation) is not None:
        return None
    return Fault(
        code="no_offers",
        message=f"{situation.provider} offers nothing now for {situation.gpu_wanted}.",
        next_step="GET /v1/offers shows what there is: choose another GPU type or count, or try later.",
    )


def memory_too_small(situation: Situation) -> Fault | None:
    """No offer has the memory."""
    if not situation.ranked or situation.fitting_offers:
        return None
    largest = max(situation.ranked, key=lambda ranked: ranked.capacity_bytes or 0)
    least = min(ranked.needed_bytes or 0 for ranked in situation.ranked)
    return Fault(
        code="memory_too_small",
        message=(
            f"The run needs {_gigabytes(least)} on one device; the largest offer, {largest.offer.gpu_type}, "
            f"has {_gigabytes(largest.capacity_bytes or 0)}."
        ),
        next_step="Lower batch.per_device or batch.max_length, use LoRA, or choose a GPU with more memory.",
    )


def volume_too_small(situation: Situation) -> Fault | None:
    """The volume that the user named does not hold the run."""
    need, size = situation.disk, situation.volume_size_gb
    has_volumes = situation.health is not None and situation.health.default_volume_gb is not None
    if need is None or size is None or not has_volumes or size >= need.least_volume_gb:
        return None
    parts = ", ".join(f"{name} {_gigabytes(amount)}" for name, amount in need.parts())
    return Fault(
        code="volume_too_small",
        message=f"The run needs {_gigabytes(need.total)} on disk ({parts}); volume_size_gb is {size}.",
        next_step=f"Set volume_size_gb to {need.least_volume_gb}, or leave it out: then it is chosen for you.",
    )


def price_above_ceiling(situation: Situation) -> Fault | None:
    """Every offer that has the memory costs more than may be paid."""
    if not situation.fitting_offers or situation.launchable_offers:
        return None
    cheapest = min(ranked.offer.price_micro_usd_per_hour for ranked in situation.fitting_offers)
    ceiling = show_usd(situation.ceiling_micro_usd_per_hour or 0)
    return Fault(
        code="price_above_ceiling",
        message=f"The cheapest machine that fits costs {show_usd(cheapest)} per hour; the plan may pay {ceiling}.",
        next_step="Raise max_price_usd_per_hour, or plan a run that fits a smaller machine.",
    )


def public_url_is_local(situation: Situation) -> Fault | None:
    """Machines elsewhere could not reach us."""
    health = situation.health
    if health is None or not health.is_usable or health.machines_are_here:
        return None  # of a provider that nobody could ask it is not known where its machines are
    local = {name: url for name, url in situation.public_urls.items() if not reachable_from_outside(url)}
    if not local:
        return None
    listed = ", ".join(f"{name}={url}" for name, url in local.items())
    return Fault(
        code="public_url_is_local",
        message=f"Machines at {situation.provider} cannot reach this installation: {listed}.",
        next_step=f"Set {' and '.join(local)} to a URL that is reachable from the internet and restart.",
    )


def chat_template_missing(situation: Situation) -> Fault | None:
    """Conversations cannot be turned into text."""
    model, dataset = situation.facts.model, situation.facts.dataset
    if not isinstance(model, ModelFacts) or model.has_chat_template or dataset.data_format != DataFormat.MESSAGES:
        return None
    return Fault(
        code="chat_template_missing",
        message=f"The rows are conversations, but the tokenizer of {model.name_or_path} has no chat template.",
        next_step="Choose the instruction-tuned form of the model, or rows of prompt and completion.",
    )


def budget_too_small(situation: Situation) -> Fault | None:
    """The money does not cover what the plan takes."""
    budget = situation.budget_micro_usd
    if budget < situation.minimum_micro_usd:
        minimum = show_usd(situation.minimum_micro_usd)
        return Fault(
            code="budget_below_reservation",
            message=f"{show_usd(budget)} does not cover the {minimum} that an attempt {_takes(situation)}.",
            next_step=f"Raise the budget to {minimum} at least, or choose a cheaper offer.",
        )
    forecast = situation.forecast
    if forecast is None or budget >= forecast.cost_micro_usd_low:
        return None
    least, most = show_usd(forecast.cost_micro_usd_low), show_usd(forecast.cost_micro_usd_high)
    return Fault(
        code="budget_below_forecast",
        message=f"{show_usd(budget)} does not even cover the lowest forecast; it is {least} to {most}.",
        next_step=f"Raise the budget, best to {most}, or train fewer steps.",
    )


def _takes(situation: Situation) -> str:
    stay = f"{situation.keep_alive.total_seconds():.0f} s of the machine after a success"
    return f"reserves and {stay} cost" if situation.keep_alive else "reserves"


BLOCKING: tuple[Check, ...] = (
    dataset_not_stored,
    dataset_rejected,
    dataset_method_mismatch,
    provider_not_usable,
    model_not_found,
    no_offers,
    memory_too_small,
    volume_too_small,
    price_above_ceiling,
    public_url_is_local,
    chat_template_missing,
    budget_too_small,
)


def budget_may_not_last(situation: Situation) -> Fault | None:
    """The budget lies inside the forecast's range."""
    forecast, budget = situation.forecast, situation.budget_micro_usd
    if forecast is None or not forecast.cost_micro_usd_low <= budget < forecast.cost_micro_usd_high:
        return None
    return Fault(
        code="budget_may_not_last",
        message=f"{show_usd(budget)} may not last: the forecast goes up to {show_usd(forecast.cost_micro_usd_high)}.",
        next_step="Raise the budget, or set checkpoint_every_steps so that little is lost.",
    )


def may_take_too_long(situation: Situation) -> Fault | None:
    """The forecast goes beyond the longest duration."""
    forecast, longest = situation.forecast, situation.max_duration.total_seconds()
    if forecast is None or forecast.seconds_high <= longest:
        return None
    return Fault(
        code="may_take_too_long",
        message=f"The forecast goes up to {forecast.seconds_high} s; the job is stopped after {longest:.0f} s.",
        next_step="Raise max_duration_seconds, train fewer steps, keep the machine for less, or choose a faster GPU.",
    )


def sequences_longer_than_model(situation: Situation) -> Fault | None:
    """`max_length` goes beyond what the model was made for."""
    model, wanted = situation.facts.model, situation.recipe.batch.max_length
    if not isinstance(model, ModelFacts) or wanted <= model.max_position:
        return None
    return Fault(
        code="sequences_longer_than_model",
        message=f"batch.max_length is {wanted}, but the model was made for {model.max_position} tokens.",
        next_step=f"Lower batch.max_length to {model.max_position}.",
    )


def rows_truncated(situation: Situation) -> Fault | None:
    """Many rows lose their end."""
    tokens, max_length = situation.tokens, situation.recipe.batch.max_length
    if tokens is None or not _many_are_cut(tokens, max_length):
        return None
    if tokens.is_counted:
        share, most = f"{100 * (tokens.truncated_share or 0.0):.0f} %", f"{tokens.p95:,}"
    else:
        share, most = "By an estimate from their characters, more than 5 %", f"about {tokens.p95:,}"
    return Fault(
        code="rows_truncated",
        message=(
            f"{share} of the rows are longer than batch.max_length {max_length:,} and are cut there; "
            f"95 % of the rows have {most} tokens or less."
        ),
        next_step=_longer_or_shorter(situation, tokens.p95),
    )


def _many_are_cut(tokens: TokenLengths, max_length: int) -> bool:
    if tokens.is_counted:
        return (tokens.truncated_share or 0.0) > _MUCH_TRUNCATED
    return tokens.p95_low > max_length


def _longer_or_shorter(situation: Situation, wanted: int) -> str:
    model = situation.facts.model
    most = model.max_position if isinstance(model, ModelFacts) else wanted
    if most <= situation.recipe.batch.max_length:
        return f"Shorten or split the rows: the model was made for {most} tokens."
    limit = ", the most that the model was made for, and shorten or split the rows beyond" if most < wanted else ""
    return f"Set batch.max_length to {min(wanted, most)}{limit}; it takes more memory, so plan again."


def memory_unknown(situation: Situation) -> Fault | None:
    """The provider does not tell how much memory there is."""
    if situation.need is None or not situation.ranked or situation.ranked[0].fit != "unknown":
        return None
    needed = _gigabytes(situation.ranked[0].needed_bytes or 0)
    return Fault(
        code="memory_unknown",
        message=f"{situation.provider} does not tell the memory of its machines; the run needs {needed}.",
        next_step="Check that the machine has it.",
    )


def speed_unknown(situation: Situation) -> Fault | None:
    """The forecast rests on a guess."""
    if situation.forecast is None or situation.forecast.is_speed_known:
        return None
    return Fault(
        code="speed_unknown",
        message=f"The speed of {situation.ranked[0].offer.gpu_type} is not known here; the forecast is a guess.",
        next_step="Set a budget that you can spare.",
    )


def nothing_free_now(situation: Situation) -> Fault | None:
    """Offers exist, but none is free."""
    offers = situation.facts.offers
    if not isinstance(offers, OfferList) or not situation.ranked:
        return None
    if any(ranked.offer.is_available for ranked in situation.launchable_offers):
        return None
    return Fault(
        code="nothing_free_now",
        message=f"{situation.provider} has none of these machines free now.",
        next_step="The job waits for one, for as long as its attempts allow.",
    )


WARNINGS: tuple[Check, ...] = (
    budget_may_not_last,
    may_take_too_long,
    sequences_longer_than_model,
    rows_truncated,
    memory_unknown,
    speed_unknown,
    nothing_free_now,
)


def reachable_from_outside(url: str) -> bool:
    """Whether a machine elsewhere could reach this URL, as far as its host tells."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_global
    except ValueError:
        return "." in host and not host.endswith((".localhost", ".local", ".internal"))


def _gigabytes(amount: int) -> str:
    return f"{amount / 10**9:.1f} GB"

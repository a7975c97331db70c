"""How long a run takes and what it costs, as a range.

    tokens      characters / 4 of each row, cut at `batch.max_length`, x epochs; or steps x rows per step
    operations  6 x parameters x tokens (forward 2, backward 4; LoRA's saving is within the range)
    time        set-up + operations / sustained speed of the devices
    cost        price x time

Characters per token vary from about 3 to 5 between languages and tokenizers, which the range covers.
"""

import math
from datetime import timedelta

from pydantic import BaseModel

from stoker_api.plans.throughput import DeviceSpeed, device_speed
from stoker_shared.money import MicroUsd, cost_of
from stoker_shared.recipe import HeldOut, Recipe
from stoker_shared.rpc.dataset_gateway import DatasetStatistics
from stoker_shared.rpc.deployer import ModelFacts, Offer

CHARACTERS_PER_TOKEN = 4
_FEWEST_CHARACTERS, _MOST_CHARACTERS = 3, 5
_OPERATIONS_PER_PARAMETER_AND_TOKEN = 6
# Further GPUs wait for each other.
_SCALING = 0.85
_TERA = 10**12
# Machine start, libraries, model into memory, model back to the store: without and with a GPU.
_SETUP_GPU = (timedelta(minutes=1), timedelta(minutes=10))
_SETUP_CPU = (timedelta(seconds=15), timedelta(seconds=90))
_LONGEST = timedelta(days=3650)


class Forecast(BaseModel):
    """What the best offer would take. Seconds and micro-dollars are whole numbers; low is lucky, high is unlucky."""

    tokens: int
    steps: int
    setup_seconds_low: int
    setup_seconds_high: int
    seconds_low: int
    seconds_high: int
    cost_micro_usd_low: int
    cost_micro_usd_high: int
    basis: str
    is_speed_known: bool


def forecast(model: ModelFacts, recipe: Recipe, *, statistics: DatasetStatistics, offer: Offer) -> Forecast:
    """Time and cost of the run on that offer, set-up included."""
    speed = device_speed(offer.gpu_type, gpu_count=offer.gpu_count)
    setup_low, setup_high = _SETUP_GPU if offer.gpu_count > 0 else _SETUP_CPU
    devices = max(offer.gpu_count, 1)
    fewest = training_tokens(recipe, statistics=statistics, devices=devices, characters_per_token=_MOST_CHARACTERS)
    most = training_tokens(recipe, statistics=statistics, devices=devices, characters_per_token=_FEWEST_CHARACTERS)
    low = setup_low + _duration(model, fewest, tera=_together(speed.high, devices))
    high = setup_high + _duration(model, most, tera=_together(speed.low, devices))
    price = MicroUsd(offer.price_micro_usd_per_hour)
    return Forecast(
        tokens=training_tokens(recipe, statistics=statistics, devices=devices),
        steps=training_steps(recipe, rows=statistics.rows, devices=devices),
        setup_seconds_low=_seconds(setup_low),
        setup_seconds_high=_seconds(setup_high),
        seconds_low=_seconds(low),
        seconds_high=_seconds(high),
        cost_micro_usd_low=cost_of(low, price),
        cost_micro_usd_high=cost_of(high, price),
        basis=_basis(speed),
        is_speed_known=speed.is_known,
    )


def training_tokens(
    recipe: Recipe,
    *,
    statistics: DatasetStatistics,
    devices: int = 1,
    characters_per_token: int = CHARACTERS_PER_TOKEN,
) -> int:
    """Tokens that pass through the model in the whole run, padding left out."""
    if statistics.rows == 0:
        return 0
    mean = statistics.characters_total / statistics.rows / characters_per_token
    per_row = max(1.0, min(mean, recipe.batch.max_length))
    if recipe.length.max_steps and recipe.batch.packing:
        per_row = recipe.batch.max_length
    return math.ceil(_rows_seen(recipe, rows=statistics.rows, devices=devices) * per_row)


def training_steps(recipe: Recipe, *, rows: int, devices: int = 1) -> int:
    """Optimiser steps, packing left out of account."""
    if recipe.length.max_steps:
        return recipe.length.max_steps
    return math.ceil(_training_rows(rows, recipe.held_out) / _rows_per_step(recipe, devices) * recipe.length.epochs)


def _rows_seen(recipe: Recipe, *, rows: int, devices: int) -> float:
    if recipe.length.max_steps:
        return float(recipe.length.max_steps * _rows_per_step(recipe, devices))
    return _training_rows(rows, recipe.held_out) * recipe.length.epochs


def _rows_per_step(recipe: Recipe, devices: int) -> int:
    return recipe.batch.per_device * recipe.batch.gradient_accumulation * devices


def _training_rows(rows: int, held_out: HeldOut) -> int:
    # As the trainer splits: at least one row is kept from training, at least one stays for it.
    if held_out.fraction == 0 or rows < 2:
        return rows
    return rows - min(held_out.max_rows, max(1, round(rows * held_out.fraction)), rows - 1)


def _together(tera: float, devices: int) -> float:
    return tera * (1 + (devices - 1) * _SCALING)


def _duration(model: ModelFacts, tokens: int, *, tera: float) -> timedelta:
    operations = _OPERATIONS_PER_PARAMETER_AND_TOKEN * model.parameters * tokens
    return timedelta(seconds=min(operations / (tera * _TERA), _LONGEST.total_seconds()))


def _seconds(duration: timedelta) -> int:
    return math.ceil(duration.total_seconds())


def _basis(speed: DeviceSpeed) -> str:
    return f"characters / {CHARACTERS_PER_TOKEN}; 6 x parameters x tokens; {speed.basis}"

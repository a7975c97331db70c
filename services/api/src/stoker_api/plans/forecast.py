"""How long a run takes and what it costs, as a range.

    tokens      mean of a row (`plans.tokens`), cut at `batch.max_length`, x rows x epochs; or x steps x rows per step
    operations  6 x parameters x tokens (forward 2, backward 4; LoRA's saving is within the range)
    time        set-up + operations / sustained speed of the devices + stay of the machine after a success
    cost        price x time

The range covers how well the speed of the device is known, and how well the tokens are: counted or estimated.
"""

import math
from datetime import timedelta

from pydantic import BaseModel

from stoker_api.plans.throughput import device_speed
from stoker_api.plans.tokens import TokenLengths
from stoker_shared.money import MicroUsd, cost_of
from stoker_shared.recipe import HeldOut, Recipe
from stoker_shared.rpc.deployer import ModelFacts, Offer

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
    keep_alive_seconds: int = 0
    seconds_low: int
    seconds_high: int
    cost_micro_usd_low: int
    cost_micro_usd_high: int
    basis: str
    is_speed_known: bool


def forecast(
    model: ModelFacts, recipe: Recipe, *, tokens: TokenLengths, offer: Offer, keep_alive: timedelta = timedelta(0)
) -> Forecast:
    """Time and cost of the run on that offer, set-up and the machine's stay after a success included."""
    speed = device_speed(offer.gpu_type, gpu_count=offer.gpu_count)
    setup_low, setup_high = _SETUP_GPU if offer.gpu_count > 0 else _SETUP_CPU
    devices = max(offer.gpu_count, 1)
    fewest, likely, most = training_tokens(recipe, tokens=tokens, devices=devices)
    low = setup_low + _duration(model, fewest, tera=_together(speed.high, devices)) + keep_alive
    high = setup_high + _duration(model, most, tera=_together(speed.low, devices)) + keep_alive
    price = MicroUsd(offer.price_micro_usd_per_hour)
    return Forecast(
        tokens=likely,
        steps=training_steps(recipe, rows=tokens.rows, devices=devices),
        setup_seconds_low=_seconds(setup_low),
        setup_seconds_high=_seconds(setup_high),
        keep_alive_seconds=_seconds(keep_alive),
        seconds_low=_seconds(low),
        seconds_high=_seconds(high),
        cost_micro_usd_low=cost_of(low, price),
        cost_micro_usd_high=cost_of(high, price),
        basis=f"{tokens.basis}; 6 x parameters x tokens; {speed.basis}",
        is_speed_known=speed.is_known,
    )


def training_tokens(recipe: Recipe, *, tokens: TokenLengths, devices: int = 1) -> tuple[int, int, int]:
    """Tokens that pass through the model in the whole run, padding left out: the fewest, the likely, the most."""
    max_length = recipe.batch.max_length
    fewest, most = tokens.mean_range(max_length)
    likely = tokens.mean(max_length)
    if recipe.length.max_steps and recipe.batch.packing and tokens.rows:
        fewest = likely = most = max_length
    seen = _rows_seen(recipe, rows=tokens.rows, devices=devices)
    return math.ceil(seen * fewest), math.ceil(seen * likely), math.ceil(seen * most)


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

"""Time and cost before a launch."""

from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker_api.plans.forecast import forecast, training_steps, training_tokens
from stoker_api.plans.throughput import device_speed
from stoker_api.plans.tokens import TokenLengths, token_lengths
from stoker_shared.recipe import Recipe
from stoker_shared.rpc.dataset_gateway import DatasetStatistics, TokenStatistics
from tests.unit.api.examples import (
    LLAMA_8B,
    NOT_COUNTED,
    SMOLLM2_135M,
    a_cpu_offer,
    a_dataset,
    a_gpu_offer,
    a_recipe,
    counted_tokens,
)

STATISTICS = a_dataset().statistics


def estimated(statistics: DatasetStatistics = STATISTICS) -> TokenLengths:
    return token_lengths(NOT_COUNTED, statistics=statistics, max_length=512)


def counted(**changes: Any) -> TokenLengths:
    return token_lengths(counted_tokens(**changes), statistics=STATISTICS, max_length=512)


def likely_tokens(recipe: Recipe) -> int:
    return training_tokens(recipe, tokens=estimated())[1]


def test_tokens_are_a_quarter_of_the_characters_of_the_training_rows_times_epochs() -> None:
    recipe = a_recipe(held_out={"fraction": 0}, length={"epochs": 3})
    assert likely_tokens(recipe) == 300_000


def test_held_out_rows_are_not_trained_on() -> None:
    recipe = a_recipe(held_out={"fraction": 0.1, "max_rows": 64})
    assert likely_tokens(recipe) == (1000 - 64) * 100


def test_rows_are_cut_at_max_length() -> None:
    recipe = a_recipe(held_out={"fraction": 0}, batch={"max_length": 50})
    assert likely_tokens(recipe) == 1000 * 50


def test_a_stay_after_the_success_is_paid_for_like_the_run() -> None:
    run = forecast(SMOLLM2_135M, a_recipe(), tokens=estimated(), offer=a_gpu_offer())
    stay = timedelta(minutes=30)
    kept = forecast(SMOLLM2_135M, a_recipe(), tokens=estimated(), offer=a_gpu_offer(), keep_alive=stay)
    assert (kept.seconds_low - run.seconds_low, kept.seconds_high - run.seconds_high) == (1800, 1800)
    # Half an hour at 0.74 USD; each cost is rounded by itself.
    assert abs(kept.cost_micro_usd_low - run.cost_micro_usd_low - 370_000) <= 1
    assert abs(kept.cost_micro_usd_high - run.cost_micro_usd_high - 370_000) <= 1
    assert (run.keep_alive_seconds, kept.keep_alive_seconds) == (0, 1800)


def test_max_steps_decide_where_they_are_set() -> None:
    recipe = a_recipe(length={"max_steps": 10}, batch={"per_device": 4, "gradient_accumulation": 2})
    assert training_steps(recipe, rows=1000) == 10
    assert likely_tokens(recipe) == 10 * 8 * 100


def test_an_empty_dataset_takes_set_up_time_only() -> None:
    predicted = forecast(SMOLLM2_135M, a_recipe(), tokens=estimated(DatasetStatistics()), offer=a_cpu_offer())
    assert predicted.tokens == 0
    assert predicted.seconds_high == predicted.setup_seconds_high


def test_the_measured_cpu_run_lies_inside_its_forecast() -> None:
    # SmolLM2-135M LoRA, four rows of 128 tokens: 2.9 s a step, up to four times that on a busy machine.
    recipe = a_recipe(length={"max_steps": 100}, batch={"per_device": 4, "max_length": 128})
    full_rows = DatasetStatistics(rows=1000, characters_total=1000 * 2000)
    predicted = forecast(SMOLLM2_135M, recipe, tokens=estimated(full_rows), offer=a_cpu_offer())
    low = predicted.seconds_low - predicted.setup_seconds_low
    high = predicted.seconds_high - predicted.setup_seconds_high
    assert low < 290 < high
    assert high >= 4 * 290


def test_cost_is_price_times_time_in_whole_micro_dollars() -> None:
    predicted = forecast(LLAMA_8B, a_recipe(), tokens=estimated(), offer=a_gpu_offer())
    assert isinstance(predicted.cost_micro_usd_low, int)
    assert predicted.cost_micro_usd_low == pytest.approx(predicted.seconds_low * 740_000 / 3600, rel=0.02)
    assert predicted.cost_micro_usd_high == pytest.approx(predicted.seconds_high * 740_000 / 3600, rel=0.02)
    assert 0 < predicted.cost_micro_usd_low < predicted.cost_micro_usd_high


def test_a_free_machine_costs_nothing() -> None:
    offer = a_cpu_offer(price_micro_usd_per_hour=0)
    predicted = forecast(SMOLLM2_135M, a_recipe(), tokens=estimated(), offer=offer)
    assert (predicted.cost_micro_usd_low, predicted.cost_micro_usd_high) == (0, 0)
    assert predicted.seconds_low > 0


def test_a_faster_gpu_takes_less_time() -> None:
    names = ["NVIDIA L4", "NVIDIA GeForce RTX 4090", "NVIDIA A100-SXM4-80GB", "NVIDIA H100 80GB HBM3", "NVIDIA B200"]
    long_run = a_recipe(length={"epochs": 100})
    times = [
        forecast(LLAMA_8B, long_run, tokens=estimated(), offer=a_gpu_offer(gpu_type=name)).seconds_high
        for name in names
    ]
    assert all(slower > faster for slower, faster in pairwise(times))


@pytest.mark.parametrize(
    ("gpu_type", "peak"),
    [
        ("NVIDIA A100 80GB PCIe", 312),
        ("A100-80GB", 312),
        ("NVIDIA A10G", None),
        ("NVIDIA A40", 75),
        ("NVIDIA L40S", 181),
        ("NVIDIA L4", 60),
        ("NVIDIA RTX A4000", 38),
        ("NVIDIA H100 PCIe", 756),
        ("NVIDIA H100 80GB HBM3", 989),
        ("rtx4090", 165),
        ("NVIDIA RTX PRO 6000 Blackwell Server Edition", 252),
        ("Frobnicator 9000", None),
    ],
)
def test_a_gpu_is_found_by_the_words_of_its_name(gpu_type: str, peak: float | None) -> None:
    speed = device_speed(gpu_type, gpu_count=1)
    assert speed.is_known == (peak is not None)
    if peak is not None:
        assert speed.high == pytest.approx(peak * 0.45)


def test_an_unknown_gpu_has_a_wide_range_and_says_so() -> None:
    offer = a_gpu_offer(gpu_type="Frobnicator 9000")
    predicted = forecast(LLAMA_8B, a_recipe(), tokens=estimated(), offer=offer)
    assert not predicted.is_speed_known
    assert "Frobnicator 9000" in predicted.basis


def test_counted_tokens_make_the_forecast_narrower() -> None:
    recipe = a_recipe(length={"epochs": 1000})
    guessed = forecast(LLAMA_8B, recipe, tokens=estimated(), offer=a_gpu_offer())
    known = forecast(LLAMA_8B, recipe, tokens=counted(tokens_total=100_000), offer=a_gpu_offer())
    assert known.tokens == guessed.tokens
    assert guessed.seconds_low < known.seconds_low < known.seconds_high < guessed.seconds_high


def test_a_counted_sample_is_trusted_less_than_all_rows() -> None:
    recipe = a_recipe(held_out={"fraction": 0})
    all_rows = training_tokens(recipe, tokens=counted())
    sample = training_tokens(recipe, tokens=counted(rows_measured=100))
    assert all_rows == (114_000, 120_000, 126_000)
    assert sample == (108_000, 120_000, 132_000)


def test_the_counted_mean_is_cut_at_max_length() -> None:
    recipe = a_recipe(held_out={"fraction": 0}, batch={"max_length": 64})
    fewest, likely, most = training_tokens(recipe, tokens=counted(truncated_share=1.0))
    assert fewest <= likely == most == 64_000


def test_the_forecast_says_what_its_tokens_rest_on() -> None:
    known = forecast(SMOLLM2_135M, a_recipe(), tokens=counted(), offer=a_cpu_offer())
    assert known.basis.startswith("the model's tokenizer; its chat template; 6 x parameters x tokens")
    guessed = forecast(SMOLLM2_135M, a_recipe(), tokens=estimated(), offer=a_cpu_offer())
    assert "characters / 4" in guessed.basis
    assert "not counted: dataset_gateway does not answer: TimeoutError;" in guessed.basis


def test_an_estimate_of_the_gateway_is_no_count() -> None:
    told = counted(is_exact=False, rows_measured=0, tokens_total=100_000, basis="characters / 4; no folder here")
    assert told.mean_range(512) == estimated().mean_range(512)
    assert told.basis == "characters / 4; no folder here"


@given(st.lists(st.integers(1, 5000), min_size=1, max_size=60), st.integers(8, 2000))
def test_what_is_trained_on_lies_within_the_counted_range(lengths: list[int], max_length: int) -> None:
    ordered = sorted(lengths)
    measured = TokenStatistics(
        rows=len(ordered),
        rows_measured=len(ordered),
        tokens_p50=ordered[len(ordered) // 2],
        tokens_p95=ordered[-1],
        tokens_max=ordered[-1],
        tokens_total=sum(ordered),
        truncated_share=sum(length > max_length for length in ordered) / len(ordered),
        is_exact=True,
        basis="",
    )
    tokens = token_lengths(measured, statistics=STATISTICS, max_length=max_length)
    low, high = tokens.mean_range(max_length)
    actual = sum(min(length, max_length) for length in ordered) / len(ordered)
    assert low <= actual * (1 + 1e-9)
    assert actual <= high * (1 + 1e-9)
    assert low <= tokens.mean(max_length) * (1 + 1e-9)
    assert tokens.mean(max_length) <= high

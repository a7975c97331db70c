"""Time and cost before a launch."""

from itertools import pairwise

import pytest

from stoker_api.plans.forecast import forecast, training_steps, training_tokens
from stoker_api.plans.throughput import device_speed
from stoker_shared.rpc.dataset_gateway import DatasetStatistics
from tests.unit.api.examples import LLAMA_8B, SMOLLM2_135M, a_cpu_offer, a_dataset, a_gpu_offer, a_recipe

STATISTICS = a_dataset().statistics


def test_tokens_are_a_quarter_of_the_characters_of_the_training_rows_times_epochs() -> None:
    recipe = a_recipe(held_out={"fraction": 0}, length={"epochs": 3})
    assert training_tokens(recipe, statistics=STATISTICS) == 300_000


def test_held_out_rows_are_not_trained_on() -> None:
    recipe = a_recipe(held_out={"fraction": 0.1, "max_rows": 64})
    assert training_tokens(recipe, statistics=STATISTICS) == (1000 - 64) * 100


def test_rows_are_cut_at_max_length() -> None:
    recipe = a_recipe(held_out={"fraction": 0}, batch={"max_length": 50})
    assert training_tokens(recipe, statistics=STATISTICS) == 1000 * 50


def test_max_steps_decide_where_they_are_set() -> None:
    recipe = a_recipe(length={"max_steps": 10}, batch={"per_device": 4, "gradient_accumulation": 2})
    assert training_steps(recipe, rows=1000) == 10
    assert training_tokens(recipe, statistics=STATISTICS) == 10 * 8 * 100


def test_an_empty_dataset_takes_set_up_time_only() -> None:
    predicted = forecast(SMOLLM2_135M, a_recipe(), statistics=DatasetStatistics(), offer=a_cpu_offer())
    assert predicted.tokens == 0
    assert predicted.seconds_high == predicted.setup_seconds_high


def test_the_measured_cpu_run_lies_inside_its_forecast() -> None:
    # SmolLM2-135M LoRA, four rows of 128 tokens: 2.9 s a step, up to four times that on a busy machine.
    recipe = a_recipe(length={"max_steps": 100}, batch={"per_device": 4, "max_length": 128})
    full_rows = DatasetStatistics(rows=1000, characters_total=1000 * 2000)
    predicted = forecast(SMOLLM2_135M, recipe, statistics=full_rows, offer=a_cpu_offer())
    low = predicted.seconds_low - predicted.setup_seconds_low
    high = predicted.seconds_high - predicted.setup_seconds_high
    assert low < 290 < high
    assert high >= 4 * 290


def test_cost_is_price_times_time_in_whole_micro_dollars() -> None:
    predicted = forecast(LLAMA_8B, a_recipe(), statistics=STATISTICS, offer=a_gpu_offer())
    assert isinstance(predicted.cost_micro_usd_low, int)
    assert predicted.cost_micro_usd_low == pytest.approx(predicted.seconds_low * 740_000 / 3600, rel=0.02)
    assert predicted.cost_micro_usd_high == pytest.approx(predicted.seconds_high * 740_000 / 3600, rel=0.02)
    assert 0 < predicted.cost_micro_usd_low < predicted.cost_micro_usd_high


def test_a_free_machine_costs_nothing() -> None:
    offer = a_cpu_offer(price_micro_usd_per_hour=0)
    predicted = forecast(SMOLLM2_135M, a_recipe(), statistics=STATISTICS, offer=offer)
    assert (predicted.cost_micro_usd_low, predicted.cost_micro_usd_high) == (0, 0)
    assert predicted.seconds_low > 0


def test_a_faster_gpu_takes_less_time() -> None:
    names = ["NVIDIA L4", "NVIDIA GeForce RTX 4090", "NVIDIA A100-SXM4-80GB", "NVIDIA H100 80GB HBM3", "NVIDIA B200"]
    long_run = a_recipe(length={"epochs": 100})
    times = [
        forecast(LLAMA_8B, long_run, statistics=STATISTICS, offer=a_gpu_offer(gpu_type=name)).seconds_high
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
    predicted = forecast(LLAMA_8B, a_recipe(), statistics=STATISTICS, offer=offer)
    assert not predicted.is_speed_known
    assert "Frobnicator 9000" in predicted.basis

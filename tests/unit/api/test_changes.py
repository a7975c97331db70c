"""What each change makes of a failed plan."""

from dataclasses import replace
from typing import Any, get_args

import pytest

from stoker_api.diagnosis.basis import Basis
from stoker_api.diagnosis.changes import CHANGES, CannotHelp, Changed
from stoker_api.plans.freeze import FrozenPlan
from stoker_shared.commands import PlannedOffer
from stoker_shared.recipe import DataFormat, Recipe
from stoker_shared.rpc.deployer import Offer
from stoker_shared.rpc.diagnosis import Change
from tests.unit.api.examples import DATASET_ID, OWNER, SHA256, a_gpu_offer, a_new_plan, a_recipe

SMALL = PlannedOffer(
    provider="runpod", gpu_type="RTX 4090", gpu_count=1, price_micro_usd_per_hour=740_000, vram_bytes=24 * 10**9
)


def a_basis(*offers: Offer, recipe: Recipe | None = None, **frozen: Any) -> Basis:
    chosen = recipe or a_recipe()
    values: dict[str, Any] = {
        "owner": OWNER,
        "provider": "local",
        "dataset_version_id": DATASET_ID,
        "dataset_sha256": SHA256,
        "data_format": DataFormat.MESSAGES,
        "recipe": chosen,
        "offers": [SMALL],
        "budget_micro_usd": 5_000_000,
        "max_attempts": 3,
        "max_duration_seconds": 3600,
        "docker_image": None,
        "volume_size_gb": 40,
        "environment_names": [],
    }
    wishes = a_new_plan(recipe=chosen.model_dump())
    return Basis(wishes, FrozenPlan(**(values | frozen)), highest_cost=1000, ran_on=SMALL, offers=offers)


def changed(change: Change, basis: Basis) -> Changed:
    outcome = CHANGES[change](basis)
    assert isinstance(outcome, Changed), outcome
    return outcome


def recipe_of(outcome: Changed) -> Recipe:
    assert outcome.wishes.recipe is not None
    return outcome.wishes.recipe


def test_every_change_that_a_diagnosis_can_name_is_in_the_table() -> None:
    assert set(CHANGES) == set(get_args(Change))


@pytest.mark.parametrize("rows", [2, 3, 4, 6, 7, 12, 35])
@pytest.mark.parametrize("accumulation", [1, 3])
def test_a_smaller_batch_keeps_the_effective_batch(rows: int, accumulation: int) -> None:
    basis = a_basis(recipe=a_recipe(batch={"per_device": rows, "gradient_accumulation": accumulation}))
    batch = recipe_of(changed("smaller_batch", basis)).batch
    assert batch.per_device < rows
    assert batch.per_device * batch.gradient_accumulation == rows * accumulation


def test_one_row_at_a_time_cannot_be_less() -> None:
    assert isinstance(CHANGES["smaller_batch"](a_basis(recipe=a_recipe(batch={"per_device": 1}))), CannotHelp)


def test_rows_become_half_as_long_but_not_too_short() -> None:
    assert recipe_of(changed("shorter_length", a_basis())).batch.max_length == 256
    short = a_basis(recipe=a_recipe(batch={"max_length": 100}))
    assert isinstance(CHANGES["shorter_length"](short), CannotHelp)


def test_lora_only_where_there_is_none() -> None:
    assert isinstance(CHANGES["use_lora"](a_basis()), CannotHelp)
    assert recipe_of(changed("use_lora", a_basis(recipe=a_recipe(lora=None)))).lora is not None


def test_the_learning_rate_falls_and_warm_up_grows() -> None:
    before, after = a_recipe().optimiser, recipe_of(changed("lower_learning_rate", a_basis())).optimiser
    assert after.learning_rate == pytest.approx(before.learning_rate / 5)
    assert after.warmup_ratio > before.warmup_ratio
    assert after.schedule == before.schedule


def test_a_larger_gpu_is_the_cheapest_free_one() -> None:
    basis = a_basis(
        a_gpu_offer(gpu_type="same", vram_bytes=24 * 10**9, price_micro_usd_per_hour=1),
        a_gpu_offer(gpu_type="taken", vram_bytes=80 * 10**9, price_micro_usd_per_hour=2, is_available=False),
        a_gpu_offer(gpu_type="dear", vram_bytes=80 * 10**9, price_micro_usd_per_hour=9),
        a_gpu_offer(gpu_type="good", vram_bytes=48 * 10**9, price_micro_usd_per_hour=5),
    )
    assert changed("larger_gpu", basis).wishes.gpu_type == "good"
    assert isinstance(CHANGES["larger_gpu"](replace(basis, offers=basis.offers[:2])), CannotHelp)


def test_another_offer_is_of_another_kind_and_no_smaller() -> None:
    basis = a_basis(
        a_gpu_offer(gpu_type="RTX 4090", price_micro_usd_per_hour=1),
        a_gpu_offer(gpu_type="tiny", vram_bytes=8 * 10**9, price_micro_usd_per_hour=2),
        a_gpu_offer(gpu_type="good", vram_bytes=24 * 10**9, price_micro_usd_per_hour=5),
    )
    assert changed("other_offer", basis).wishes.gpu_type == "good"


def test_money_time_and_disk_double() -> None:
    basis = a_basis()
    assert changed("higher_budget", basis).wishes.budget_usd == 10
    assert changed("longer_duration", basis).wishes.max_duration_seconds == 7200
    assert changed("more_disk", basis).wishes.volume_size_gb == 80


def test_a_ceiling_rises_to_the_cheapest_free_machine() -> None:
    free = a_gpu_offer(price_micro_usd_per_hour=800_000)
    ceiling = changed("higher_price_ceiling", a_basis(free, max_price_micro_usd_per_hour=500_000))
    assert ceiling.wishes.max_price_usd_per_hour is not None
    assert float(ceiling.wishes.max_price_usd_per_hour) == pytest.approx(0.8)
    assert isinstance(CHANGES["higher_price_ceiling"](a_basis(free)), CannotHelp)


def test_precision_rises_until_it_is_full() -> None:
    for before, after in (("float16", "bfloat16"), ("bfloat16", "float32"), ("auto", "float32")):
        basis = a_basis(recipe=a_recipe(model={"name_or_path": "m", "dtype": before}))
        assert recipe_of(changed("full_precision", basis)).model.dtype == after
    full = a_basis(recipe=a_recipe(model={"name_or_path": "m", "dtype": "float32"}))
    assert isinstance(CHANGES["full_precision"](full), CannotHelp)


def test_the_hub_token_is_added_to_what_the_machine_sees() -> None:
    assert changed("with_hub_token", a_basis()).wishes.secrets == {"huggingface"}


def test_a_change_touches_nothing_else() -> None:
    basis = a_basis()
    for change in ("smaller_batch", "higher_budget", "more_disk", "longer_duration"):
        before, after = basis.wishes.model_dump(), changed(change, basis).wishes.model_dump()
        assert sum(before[name] != after[name] for name in before) == 1, change

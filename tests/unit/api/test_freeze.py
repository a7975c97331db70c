"""A plan's hash stands for its content and for nothing else."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from stoker_api.plans.freeze import FrozenPlan, canonical_json, freeze, thaw
from stoker_shared.commands import PlannedOffer
from tests.unit.api.examples import DATASET_ID, OWNER, SHA256, a_recipe

_TEXT = st.text(max_size=30)
_MONEY = st.integers(min_value=0, max_value=10**12)
_OFFERS = st.builds(
    PlannedOffer,
    provider=_TEXT,
    gpu_type=_TEXT,
    gpu_count=st.integers(0, 8),
    place=_TEXT,
    price_micro_usd_per_hour=_MONEY,
)
_RECIPES = st.builds(
    lambda rate, epochs, prompts: a_recipe(
        optimiser={"learning_rate": rate}, length={"epochs": epochs}, sample_prompts=prompts
    ),
    st.floats(min_value=1e-12, max_value=1),
    st.floats(min_value=1e-3, max_value=1000),
    st.lists(st.text(min_size=1, max_size=20), max_size=3),
)
_PLANS = st.builds(
    FrozenPlan,
    owner=st.just(OWNER),
    provider=_TEXT,
    dataset_version_id=st.just(DATASET_ID),
    dataset_sha256=st.just(SHA256),
    data_format=st.sampled_from(["messages", "prompt_completion", "text", None]),
    recipe=_RECIPES,
    offers=st.lists(_OFFERS, max_size=4),
    budget_micro_usd=_MONEY,
    max_attempts=st.integers(1, 20),
    max_duration_seconds=st.integers(60, 10**6),
    docker_image=st.none() | _TEXT,
    volume_size_gb=st.none() | st.integers(1, 1000),
    keep_alive_seconds=st.integers(0, 86_400),
    environment_names=st.lists(_TEXT, max_size=3),
)


@given(_PLANS)
def test_the_same_content_has_the_same_hash_after_a_trip_through_its_text(plan: FrozenPlan) -> None:
    text, plan_hash = freeze(plan)
    assert thaw(text) == plan
    assert freeze(thaw(text)) == (text, plan_hash)


@given(_PLANS, _PLANS)
def test_hashes_are_equal_exactly_when_the_contents_are(left: FrozenPlan, right: FrozenPlan) -> None:
    assert (freeze(left)[1] == freeze(right)[1]) == (left.model_dump_json() == right.model_dump_json())


@given(st.dictionaries(_TEXT, st.integers() | _TEXT, max_size=6), st.randoms())
def test_the_order_of_keys_does_not_matter(values: dict[str, Any], random: Any) -> None:
    shuffled = list(values.items())
    random.shuffle(shuffled)
    assert canonical_json(dict(shuffled)) == canonical_json(values)


@given(_PLANS)
def test_no_amount_of_money_is_a_float(plan: FrozenPlan) -> None:
    document = plan.model_dump(mode="json")
    amounts = [document["budget_micro_usd"], *(offer["price_micro_usd_per_hour"] for offer in document["offers"])]
    assert all(type(amount) is int for amount in amounts)


@given(_PLANS, _MONEY)
def test_another_budget_is_another_plan(plan: FrozenPlan, budget: int) -> None:
    other = plan.model_copy(update={"budget_micro_usd": budget})
    assert (freeze(other)[1] == freeze(plan)[1]) == (budget == plan.budget_micro_usd)

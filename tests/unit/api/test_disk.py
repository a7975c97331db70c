"""What a run needs on disk, and the volume that is ordered for it."""

import pytest

from stoker_api.plans.disk import DiskNeed, disk_need, volume_for
from stoker_api.plans.memory import memory_need
from stoker_api.plans.service import judge
from stoker_api.plans.tokens import token_lengths
from stoker_shared.recipe import Recipe
from stoker_shared.rpc.deployer import ModelFacts, OfferList
from tests.unit.api.examples import (
    LLAMA_8B,
    SMOLLM2_135M,
    a_dataset,
    a_gpu_offer,
    a_new_plan,
    a_policy,
    a_recipe,
    counted_tokens,
    gathered,
)

GB = 10**9


def need_of(recipe: Recipe, *, model: ModelFacts = LLAMA_8B, on_gpu: bool = True) -> DiskNeed:
    dataset = a_dataset()
    return disk_need(
        model,
        recipe,
        dataset=dataset,
        tokens=token_lengths(counted_tokens(), statistics=dataset.statistics, max_length=512),
        memory=memory_need(model, recipe, on_gpu=on_gpu),
        on_gpu=on_gpu,
    )


def test_all_weights_are_stored_as_result_and_with_their_moments_in_each_checkpoint() -> None:
    need = need_of(a_recipe(lora=None, checkpoint_every_steps=100))
    weights = 2 * LLAMA_8B.parameters
    assert (need.packages, need.model, need.result) == (8 * GB, LLAMA_8B.weights_bytes, weights)
    # Two moments of the size of the weights, three checkpoints.
    assert need.checkpoints == 3 * 3 * weights
    assert need.total == sum(amount for _, amount in need.parts())
    assert need.least_volume_gb == -(-need.total * 11 // (10 * GB))


def test_a_run_that_saves_no_checkpoints_has_room_for_the_one_of_its_end() -> None:
    assert (
        need_of(a_recipe(lora=None)).checkpoints * 3
        == need_of(a_recipe(lora=None, checkpoint_every_steps=1)).checkpoints
    )


def test_an_adapter_is_small_and_a_machine_without_gpu_needs_fewer_packages() -> None:
    lora, full = need_of(a_recipe(), model=SMOLLM2_135M), need_of(a_recipe(lora=None), model=SMOLLM2_135M)
    assert lora.result < full.result
    assert lora.checkpoints == 3 * lora.result
    assert need_of(a_recipe(), model=SMOLLM2_135M, on_gpu=False).packages < lora.packages


def test_a_dataset_counts_as_it_lies_as_text_and_as_tokens() -> None:
    # 500,000 bytes, 400,000 characters, 120,000 tokens.
    assert need_of(a_recipe()).dataset == 500_000 + 2 * 500_000 + 48 * 120_000


@pytest.mark.parametrize(
    ("wanted", "default", "ordered"),
    [(None, 40, 50), (None, 50, None), (None, 100, None), (None, None, None), (20, 40, 20), (500, 40, 500)],
    ids=["larger", "just enough", "enough", "no volumes", "the user's word", "more than needed"],
)
def test_a_larger_volume_than_the_usual_is_ordered_only_if_it_is_needed_and_nobody_named_one(
    wanted: int | None, default: int | None, ordered: int | None
) -> None:
    need = DiskNeed(packages=45 * GB, model=0, dataset=0, result=0, checkpoints=0, rest=0)
    assert need.least_volume_gb == 50
    assert volume_for(need, wanted=wanted, default=default) == ordered


def test_without_model_or_dataset_nothing_is_known_and_the_users_word_stands() -> None:
    uploading = gathered(dataset=a_dataset(state="uploading"), offers=OfferList(offers=[a_gpu_offer()]))
    wanted = a_new_plan(provider="runpod", volume_size_gb=7)
    situation = judge(wanted, recipe=a_recipe(), facts=uploading, policy=a_policy())
    assert (situation.disk, situation.volume_size_gb) == (None, 7)

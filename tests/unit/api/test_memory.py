"""The memory estimate against what was measured, and against published figures."""

import pytest

from stoker_api.plans.memory import adapter_parameters, capacity, memory_need, verdict
from stoker_shared.recipe import Lora
from tests.unit.api.examples import LLAMA_8B, SMOLLM2_135M, a_cpu_offer, a_gpu_offer, a_recipe

MEGABYTE = 10**6
# Peak resident memory of SmolLM2-135M in float32 on CPU: method, rows, length, megabytes.
MEASURED = [
    ("lora", 1, 128, 1564),
    ("lora", 2, 128, 1948),
    ("lora", 4, 128, 2806),
    ("lora", 1, 256, 2083),
    ("lora", 2, 256, 2643),
    ("lora", 4, 256, 4130),
    ("lora", 1, 512, 2678),
    ("lora", 2, 512, 4143),
    ("lora", 4, 512, 7640),
    ("full", 2, 256, 3647),
    ("full", 4, 128, 3662),
]


@pytest.mark.parametrize(("method", "rows", "length", "measured"), MEASURED)
def test_the_estimate_is_within_ten_per_cent_of_what_was_measured(
    method: str, rows: int, length: int, measured: int
) -> None:
    lora = {"rank": 16} if method == "lora" else None
    recipe = a_recipe(lora=lora, batch={"per_device": rows, "max_length": length})
    need = memory_need(SMOLLM2_135M, recipe, on_gpu=False)
    assert need.total / MEGABYTE == pytest.approx(measured, rel=0.10)


def test_headroom_covers_every_measured_run() -> None:
    for method, rows, length, measured in MEASURED:
        recipe = a_recipe(
            lora={"rank": 16} if method == "lora" else None, batch={"per_device": rows, "max_length": length}
        )
        assert memory_need(SMOLLM2_135M, recipe, on_gpu=False).needed >= measured * MEGABYTE


def test_adapter_parameters_are_those_that_peft_counts() -> None:
    assert adapter_parameters(SMOLLM2_135M, Lora(rank=16)) == 4_884_480


def test_only_named_layers_are_adapted() -> None:
    queries_and_values = Lora(rank=8, target_modules=["q_proj", "v_proj"])
    assert adapter_parameters(SMOLLM2_135M, queries_and_values) == 8 * 30 * ((576 + 576) + (576 + 192))


def test_an_unknown_layer_name_counts_all_layers_rather_than_none() -> None:
    assert adapter_parameters(SMOLLM2_135M, Lora(rank=16, target_modules=["c_attn"])) == 4_884_480


def test_full_training_of_8b_in_bfloat16_agrees_with_pytorchs_memory_tracker() -> None:
    # MemTracker, two rows of 1024 tokens with checkpointing: 62.3 GiB, without a CUDA context.
    recipe = a_recipe(lora=None, batch={"per_device": 2, "max_length": 1024})
    need = memory_need(LLAMA_8B, recipe, on_gpu=True)
    assert (need.total - need.overhead) / 2**30 == pytest.approx(62.3, rel=0.05)


def test_parts_add_up_to_the_total() -> None:
    need = memory_need(SMOLLM2_135M, a_recipe(), on_gpu=True)
    parts = need.model_dump()
    trained = parts.pop("trained_parameters")
    assert sum(parts.values()) == need.total
    assert trained == 4_884_480


@pytest.mark.parametrize(
    ("larger", "smaller"),
    [
        ({"batch": {"per_device": 8}}, {"batch": {"per_device": 4}}),
        ({"batch": {"max_length": 1024}}, {"batch": {"max_length": 512}}),
        ({"lora": None}, {"lora": {"rank": 16}}),
        ({"lora": {"rank": 64}}, {"lora": {"rank": 16}}),
        ({"model": {"name_or_path": "x", "dtype": "float32"}}, {"model": {"name_or_path": "x", "dtype": "bfloat16"}}),
    ],
)
def test_more_of_anything_needs_more_memory(larger: dict[str, object], smaller: dict[str, object]) -> None:
    more = memory_need(LLAMA_8B, a_recipe(**larger), on_gpu=True)
    less = memory_need(LLAMA_8B, a_recipe(**smaller), on_gpu=True)
    assert more.total > less.total


def test_a_gpu_offer_is_judged_by_its_vram_and_a_cpu_offer_by_its_memory() -> None:
    gpu, cpu = a_gpu_offer(memory_bytes=10**12), a_cpu_offer(vram_bytes=None)
    assert capacity(gpu) == 24 * 10**9
    assert capacity(cpu) == 16 * 10**9


@pytest.mark.parametrize(("vram", "expected"), [(80 * 10**9, "fits"), (16 * 10**9, "does_not_fit"), (None, "unknown")])
def test_the_verdict_on_8b_with_lora(vram: int | None, expected: str) -> None:
    need = memory_need(LLAMA_8B, a_recipe(), on_gpu=True)
    assert verdict(need, a_gpu_offer(vram_bytes=vram)) == expected

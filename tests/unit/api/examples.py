"""Facts that tests of the api start from; integration tests use them too."""

from datetime import UTC, datetime, timedelta
from typing import Any

from stoker_api.plans.schemas import NewPlan
from stoker_api.plans.service import PlanPolicy
from stoker_api.plans.situation import GatheredFacts
from stoker_shared.errors import ServiceUnavailable
from stoker_shared.money import MicroUsd
from stoker_shared.recipe import DataFormat, Recipe
from stoker_shared.rpc.dataset_gateway import DatasetFacts, DatasetStatistics, TokenStatistics
from stoker_shared.rpc.deployer import ModelFacts, Offer, OfferList, ProviderHealth

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
DATASET_ID = "dsv-00000000000000aa"
SHA256 = "ab" * 32
OWNER = "usr-00000000000000ff"

NOT_COUNTED = ServiceUnavailable("dataset_gateway", "TimeoutError")

SMOLLM2_135M = ModelFacts(
    name_or_path="smollm2-135m",
    architecture="LlamaForCausalLM",
    parameters=134_515_008,
    hidden_size=576,
    layers=30,
    attention_heads=9,
    key_value_heads=3,
    intermediate_size=1536,
    vocabulary=49_152,
    max_position=8192,
    has_chat_template=True,
    weights_bytes=269_030_016,
)
LLAMA_8B = ModelFacts(
    name_or_path="meta-llama/Llama-3.1-8B",
    architecture="LlamaForCausalLM",
    parameters=8_030_261_248,
    hidden_size=4096,
    layers=32,
    attention_heads=32,
    key_value_heads=8,
    intermediate_size=14_336,
    vocabulary=128_256,
    max_position=131_072,
    has_chat_template=False,
    weights_bytes=16_060_522_496,
)


def a_recipe(**changes: Any) -> Recipe:
    """A small LoRA recipe; `changes` are sections."""
    return Recipe.model_validate({"model": {"name_or_path": "smollm2-135m"}, **changes})


def a_dataset(**changes: Any) -> DatasetFacts:
    """1,000 stored rows of prompt and completion, 400 characters each."""
    statistics = DatasetStatistics(
        rows=1000, characters_p50=400, characters_p95=400, characters_max=400, characters_total=400_000
    )
    facts = DatasetFacts(
        dataset_version_id=DATASET_ID,
        owner=OWNER,
        name="animals",
        filename="animals.jsonl",
        state="stored",
        sha256=SHA256,
        size_bytes=500_000,
        created_at=NOW,
        data_format=DataFormat.PROMPT_COMPLETION,
        fits_methods=["sft"],
        statistics=statistics,
    )
    return facts.model_copy(update=changes)


def a_cpu_offer(**changes: Any) -> Offer:
    """A machine without GPU at 0.10 USD an hour."""
    offer = Offer(
        provider="local", gpu_type="cpu", gpu_count=0, memory_bytes=16 * 10**9, price_micro_usd_per_hour=100_000
    )
    return offer.model_copy(update=changes)


def a_gpu_offer(**changes: Any) -> Offer:
    """One 24 GB GPU at 0.74 USD an hour."""
    offer = Offer(
        provider="runpod",
        gpu_type="NVIDIA GeForce RTX 4090",
        gpu_count=1,
        place="EU-RO-1",
        vram_bytes=24 * 10**9,
        price_micro_usd_per_hour=740_000,
    )
    return offer.model_copy(update=changes)


def counted_tokens(**changes: Any) -> TokenStatistics:
    """What the gateway counted: 1,000 rows of 120 tokens."""
    tokens = TokenStatistics(
        rows=1000,
        rows_measured=1000,
        tokens_p50=120,
        tokens_p95=120,
        tokens_max=120,
        tokens_total=120_000,
        truncated_share=0.0,
        is_exact=True,
        basis="the model's tokenizer; its chat template",
    )
    return tokens.model_copy(update=changes)


def gathered(**changes: Any) -> GatheredFacts:
    """Facts under which nothing blocks a local plan. Tokens are not counted."""
    facts: dict[str, Any] = {
        "dataset": a_dataset(),
        "model": SMOLLM2_135M,
        "offers": OfferList(offers=[a_cpu_offer()]),
        "providers": [
            ProviderHealth(provider="local", is_usable=True, machines_are_here=True),
            ProviderHealth(provider="runpod", is_usable=True, default_volume_gb=40),
        ],
    }
    facts |= changes
    can_ask = facts["dataset"].state == "stored" and isinstance(facts["model"], ModelFacts)
    return GatheredFacts(**{"tokens": NOT_COUNTED if can_ask else None, **facts})


def a_new_plan(**changes: Any) -> NewPlan:
    """What a user asks for."""
    wanted = {"dataset_version_id": DATASET_ID, "recipe": a_recipe().model_dump(), "provider": "local"}
    return NewPlan.model_validate({**wanted, **changes})


def a_policy(**changes: Any) -> PlanPolicy:
    """An operator's choices; the public URLs are reachable."""
    policy: dict[str, Any] = {
        "lifetime": timedelta(hours=1),
        "minimum_reservation": timedelta(minutes=5),
        "default_budget_floor": MicroUsd(1_000_000),
        "default_max_attempts": 3,
        "default_max_duration": timedelta(days=1),
        "public_urls": {"STOKER_API_GATEWAY_PUBLIC_URL": "https://data.example.com"},
    }
    return PlanPolicy(**{**policy, **changes})

"""Plans, from the request to the frozen text."""

import asyncio
import hashlib
import json
from datetime import timedelta

import pytest

from stoker_shared.clock import ManualClock
from stoker_shared.errors import Conflict, ServiceUnavailable, StokerError
from stoker_shared.rpc.dataset_gateway import MeasureTokens
from stoker_shared.rpc.deployer import InspectModel, OffersQuery, ProviderHealth
from tests.integration.api.conftest import Serve, User
from tests.integration.api.peers import Peers
from tests.unit.api.examples import DATASET_ID, LLAMA_8B, a_gpu_offer, a_recipe, counted_tokens


async def test_a_plan_shows_what_it_stands_on_and_can_be_read_again(user: User) -> None:
    plan = await user.plan(budget_usd="2.50", max_attempts=2)
    assert plan["is_launchable"]
    assert plan["blocking"] == []
    assert plan["budget"] == {"budget_micro_usd": 2_500_000, "minimum_micro_usd": 1667, "is_default": False}
    assert plan["fit"]["need"]["trained_parameters"] == 4_884_480
    assert plan["offers"][0]["fit"] == "fits"
    assert plan["forecast"]["seconds_low"] < plan["forecast"]["seconds_high"]
    assert plan["frozen"]["max_attempts"] == 2
    assert (await user.http.get(f"/v1/plans/{plan['plan_id']}")).json() == plan


async def test_the_hash_is_that_of_the_canonical_json_of_what_is_frozen(user: User) -> None:
    plan = await user.plan()
    text = json.dumps(plan["frozen"], sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert hashlib.sha256(text.encode()).hexdigest() == plan["plan_hash"]


async def test_equal_plans_have_equal_hashes_and_a_change_shows(user: User, peers: Peers) -> None:
    first, same = await user.plan(budget_usd="1"), await user.plan(budget_usd="1.00")
    assert first["plan_id"] != same["plan_id"]
    assert first["plan_hash"] == same["plan_hash"]
    peers.offers = [peers.offers[0].model_copy(update={"price_micro_usd_per_hour": 100_001})]
    assert (await user.plan(budget_usd="1"))["plan_hash"] != first["plan_hash"]


async def test_offers_are_ranked_and_those_that_do_not_fit_are_not_launched(user: User, peers: Peers) -> None:
    peers.offers = [
        a_gpu_offer(gpu_type="small", vram_bytes=10**9, price_micro_usd_per_hour=1, provider="local"),
        a_gpu_offer(gpu_type="dear", price_micro_usd_per_hour=900_000, provider="local"),
        a_gpu_offer(gpu_type="fair", price_micro_usd_per_hour=800_000, provider="local"),
    ]
    plan = await user.plan()
    assert [offer["gpu_type"] for offer in plan["frozen"]["offers"]] == ["fair", "dear"]
    assert [ranked["fit"] for ranked in plan["offers"]] == ["fits", "fits", "does_not_fit"]


async def test_a_blocked_plan_is_stored_with_faults_that_say_what_to_do(user: User, peers: Peers) -> None:
    peers.own_dataset(user.user_id, data_format=None, fits_methods=["dpo"])
    plan = await user.plan(recipe=a_recipe(model={"name_or_path": "nowhere"}).model_dump(), budget_usd="0.001")
    assert not plan["is_launchable"]
    codes = [fault["code"] for fault in plan["blocking"]]
    assert codes == ["dataset_method_mismatch", "model_not_found", "budget_below_reservation"]
    assert all(fault["next_step"] for fault in plan["blocking"])
    assert (await user.http.get(f"/v1/plans/{plan['plan_id']}")).json() == plan


async def test_a_local_url_blocks_a_cloud_provider(user: User, peers: Peers) -> None:
    peers.offers = [a_gpu_offer()]
    plan = await user.plan(provider="runpod")
    assert [fault["code"] for fault in plan["blocking"]] == ["public_url_is_local"]


async def test_values_of_the_environment_are_never_shown(user: User) -> None:
    plan = await user.plan(environment={"HF_TOKEN": "hf_very_secret", "A": "b"})
    shown = await user.http.get(f"/v1/plans/{plan['plan_id']}")
    assert plan["frozen"]["environment_names"] == ["A", "HF_TOKEN"]
    assert "hf_very_secret" not in json.dumps(plan) + shown.text


async def test_a_refused_environment_is_not_told_back(user: User) -> None:
    body = {"dataset_version_id": DATASET_ID, "recipe": a_recipe().model_dump(), "provider": "local"}
    response = await user.http.post("/v1/plans", json={**body, "environment": {"JOB_TOKEN": "very_secret"}})
    assert response.status_code == 422
    assert "JOB_TOKEN" in response.text
    assert "very_secret" not in response.text


async def test_a_saved_recipe_is_planned_by_its_id(user: User, stranger: User) -> None:
    body = {"name": "mine", "recipe": a_recipe(seed=5).model_dump()}
    recipe_id = (await user.http.post("/v1/recipes", json=body)).json()["recipe_id"]
    plan = await user.plan(recipe=None, recipe_id=recipe_id)
    assert plan["frozen"]["recipe"]["seed"] == 5
    theirs = {"dataset_version_id": DATASET_ID, "recipe_id": recipe_id, "provider": "local"}
    assert (await stranger.http.post("/v1/plans", json=theirs)).status_code == 404


async def test_plans_and_datasets_of_others_do_not_exist(user: User, stranger: User) -> None:
    plan = await user.plan()
    assert (await stranger.http.get(f"/v1/plans/{plan['plan_id']}")).status_code == 404
    body = {"dataset_version_id": DATASET_ID, "recipe": a_recipe().model_dump(), "provider": "local"}
    assert (await stranger.http.post("/v1/plans", json=body)).status_code == 404


async def test_a_service_that_is_away_is_no_fault_of_the_plan(user: User, peers: Peers) -> None:
    body = {"dataset_version_id": DATASET_ID, "recipe": a_recipe().model_dump(), "provider": "local"}
    await peers.stop("deployer")
    response = await user.http.post("/v1/plans", json=body)
    assert response.status_code == 503
    assert "deployer" in response.json()["detail"]


async def test_a_plan_shows_the_tokens_that_the_gateway_counted_and_forecasts_with_them(
    user: User, peers: Peers
) -> None:
    recipe = a_recipe(held_out={"fraction": 0}, batch={"max_length": 256})
    plan = await user.plan(recipe=recipe.model_dump())
    assert plan["tokens"] == {
        "p50": 120,
        "p95": 120,
        "max": 120,
        "total": 120_000,
        "truncated_share": 0.0,
        "rows": 1000,
        "rows_measured": 1000,
        "is_counted": True,
        "basis": "the model's tokenizer; its chat template",
    }
    assert plan["forecast"]["tokens"] == 120_000
    assert plan["forecast"]["basis"].startswith("the model's tokenizer")
    asked = [question for question in peers.asked if isinstance(question, MeasureTokens)]
    assert [(question.owner, question.name_or_path, question.max_length) for question in asked] == [
        (user.user_id, "smollm2-135m", 256)
    ]
    assert (await user.http.get(f"/v1/plans/{plan['plan_id']}")).json() == plan


async def test_rows_that_are_cut_are_a_warning(user: User, peers: Peers) -> None:
    peers.tokens = counted_tokens(tokens_p95=900, tokens_max=2000, truncated_share=0.2)
    plan = await user.plan()
    assert [warning["code"] for warning in plan["warnings"]] == ["rows_truncated"]
    assert "900" in plan["warnings"][0]["next_step"]
    assert plan["is_launchable"]


@pytest.mark.parametrize(
    "answer", [Conflict("It is not stored.", next_step="Wait."), ServiceUnavailable("object store", "down")]
)
async def test_tokens_that_cannot_be_counted_are_estimated(user: User, peers: Peers, answer: StokerError) -> None:
    peers.tokens = answer
    plan = await user.plan(recipe=a_recipe(held_out={"fraction": 0}).model_dump())
    assert plan["is_launchable"]
    assert not plan["tokens"]["is_counted"]
    assert plan["forecast"]["tokens"] == 100_000
    assert "characters / 4" in plan["forecast"]["basis"]
    assert answer.detail.rstrip(".") in plan["forecast"]["basis"]


async def test_a_plan_does_not_wait_for_a_slow_count(serve: Serve, user: User, peers: Peers) -> None:
    peers.counted = asyncio.Event()
    async with serve(token_count_patience=timedelta(milliseconds=50)) as hasty, hasty.client(user.key) as http:
        body = {"dataset_version_id": DATASET_ID, "recipe": a_recipe().model_dump(), "provider": "local"}
        plan = (await http.post("/v1/plans", json=body)).json()
    peers.counted.set()
    assert plan["is_launchable"]
    assert "characters / 4" in plan["tokens"]["basis"]


@pytest.mark.parametrize("what", ["dataset", "model"])
async def test_tokens_are_asked_for_only_when_dataset_and_model_are_there(user: User, peers: Peers, what: str) -> None:
    recipe = a_recipe()
    if what == "dataset":
        peers.own_dataset(user.user_id, state="checking")
    else:
        recipe = a_recipe(model={"name_or_path": "nowhere"})
    plan = await user.plan(recipe=recipe.model_dump())
    assert plan["tokens"] is None
    assert plan["forecast"] is None
    assert not [question for question in peers.asked if isinstance(question, MeasureTokens)]


async def test_a_launch_never_counts_tokens(user: User, peers: Peers, clock: ManualClock) -> None:
    plan = await user.plan()
    peers.asked.clear()
    clock.advance(timedelta(minutes=5))
    assert (await user.launch(plan)).status_code == 201
    assert peers.asked
    assert not [question for question in peers.asked if isinstance(question, MeasureTokens)]


async def test_a_large_run_gets_a_larger_volume_and_pays_for_it(user: User, peers: Peers) -> None:
    peers.providers = [ProviderHealth(provider="runpod", is_usable=True, machines_are_here=True, default_volume_gb=40)]
    peers.offers = [a_gpu_offer(vram_bytes=80 * 10**9)]
    peers.model = LLAMA_8B
    named = {"model": {"name_or_path": LLAMA_8B.name_or_path}}
    small = await user.plan(provider="runpod", recipe=named)
    asked = [question for question in peers.asked if isinstance(question, OffersQuery)]
    assert [question.volume_size_gb for question in asked] == [None]
    assert (small["disk"]["volume_size_gb"], small["frozen"]["volume_size_gb"]) == (None, None)
    assert small["frozen"]["disk_needed_bytes"] == small["disk"]["total_bytes"] < 40 * 10**9

    # Checkpoints of all weights: the price that is shown is that of the volume that is ordered.
    large = await user.plan(provider="runpod", recipe={**named, "lora": None, "checkpoint_every_steps": 10})
    asked = [question for question in peers.asked if isinstance(question, OffersQuery)][1:]
    least = large["disk"]["least_volume_gb"]
    assert least > 40
    assert [question.volume_size_gb for question in asked] == [None, least]
    assert large["frozen"]["volume_size_gb"] == large["disk"]["volume_size_gb"] == least


async def test_a_model_is_looked_at_with_the_secrets_that_the_plan_asks_for(user: User, peers: Peers) -> None:
    await user.plan(secrets=["wandb", "huggingface"])
    await user.plan()
    asked = [question for question in peers.asked if isinstance(question, InspectModel)]
    assert [question.secrets for question in asked] == [["huggingface", "wandb"], []]
    assert {question.owner for question in asked} == {user.user_id}

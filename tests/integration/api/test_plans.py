"""Plans, from the request to the frozen text."""

import hashlib
import json

from tests.integration.api.conftest import User
from tests.integration.api.peers import Peers
from tests.unit.api.examples import DATASET_ID, a_gpu_offer, a_recipe


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

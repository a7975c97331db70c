"""Recipes are kept here; datasets, providers and offers are asked of their owners."""

import asyncio

from tests.integration.api.conftest import User
from tests.integration.api.peers import Peers
from tests.unit.api.examples import DATASET_ID, SHA256, a_recipe

UPLOAD = {"name": "animals", "filename": "animals.jsonl", "size_bytes": 10, "sha256": SHA256}


async def test_a_recipe_saved_again_is_a_new_version_and_the_old_one_stays(user: User) -> None:
    first = (await user.http.post("/v1/recipes", json={"name": "mine", "recipe": a_recipe().model_dump()})).json()
    changed = a_recipe(seed=99).model_dump()
    second = (await user.http.post("/v1/recipes", json={"name": " mine ", "recipe": changed})).json()
    assert (first["version"], second["version"]) == (1, 2)
    assert (await user.http.get(f"/v1/recipes/{first['recipe_id']}")).json()["recipe"]["seed"] == 17
    listed = (await user.http.get("/v1/recipes", params={"name": "mine"})).json()["recipes"]
    assert [recipe["version"] for recipe in listed] == [2, 1]


async def test_saves_at_the_same_time_get_versions_of_their_own(user: User) -> None:
    body = {"name": "mine", "recipe": a_recipe().model_dump()}
    answers = await asyncio.gather(*(user.http.post("/v1/recipes", json=body) for _ in range(8)))
    assert sorted(answer.json()["version"] for answer in answers) == list(range(1, 9))


async def test_a_recipe_with_an_unknown_field_is_refused_by_its_path(user: User) -> None:
    recipe = {**a_recipe().model_dump(), "learning_rat": 1}
    response = await user.http.post("/v1/recipes", json={"name": "mine", "recipe": recipe})
    assert response.status_code == 422
    assert "body.recipe.learning_rat" in [error["field"] for error in response.json()["errors"]]


async def test_recipes_of_others_do_not_exist(user: User, stranger: User) -> None:
    saved = (await user.http.post("/v1/recipes", json={"name": "mine", "recipe": a_recipe().model_dump()})).json()
    assert (await stranger.http.get(f"/v1/recipes/{saved['recipe_id']}")).status_code == 404
    assert (await stranger.http.get("/v1/recipes")).json() == {"recipes": []}


async def test_an_upload_is_opened_for_the_user_at_the_gateway(user: User, peers: Peers) -> None:
    response = await user.http.post("/v1/datasets", json=UPLOAD)
    assert response.status_code == 201
    assert response.json()["upload_url"].startswith("http")
    assert peers.asked[-1].model_dump() == {"owner": user.user_id, "convert": True, **UPLOAD}


async def test_datasets_are_described_and_listed_for_their_owner_only(user: User, stranger: User) -> None:
    assert (await user.http.get(f"/v1/datasets/{DATASET_ID}")).json()["state"] == "stored"
    assert len((await user.http.get("/v1/datasets")).json()["datasets"]) == 1
    assert (await stranger.http.get(f"/v1/datasets/{DATASET_ID}")).status_code == 404
    assert (await stranger.http.get("/v1/datasets")).json()["datasets"] == []


async def test_a_malformed_identifier_is_answered_like_an_unknown_one(user: User) -> None:
    for identifier in ("x", "dsv-1.%3E", "dsv-00000000000000aa%0A", "*"):
        assert (await user.http.get(f"/v1/datasets/{identifier}")).status_code == 404


async def test_a_gateway_that_is_away_is_a_503_that_says_when_to_come_back(user: User, peers: Peers) -> None:
    await peers.stop("dataset_gateway")
    for response in (
        await user.http.get("/v1/datasets"),
        await user.http.post("/v1/datasets", json=UPLOAD),
    ):
        assert response.status_code == 503
        assert response.headers["content-type"] == "application/problem+json"
        assert response.headers["retry-after"]
        assert "dataset_gateway" in response.json()["detail"]


async def test_providers_and_offers_are_those_of_the_deployer(user: User) -> None:
    providers = (await user.http.get("/v1/providers")).json()["providers"]
    assert [provider["provider"] for provider in providers] == ["local", "runpod"]
    assert len((await user.http.get("/v1/offers")).json()["offers"]) == 1
    assert (await user.http.get("/v1/offers", params={"provider": "runpod"})).json()["offers"] == []

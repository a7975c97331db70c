"""A secret arrives in clear text and leaves sealed; nothing that the api says or asks holds it."""

import pytest
from structlog.testing import capture_logs

from stoker.stack.standalone import RunningNats
from stoker_shared.rpc.deployer import HealthQuery, InspectModel, OffersQuery
from stoker_shared.sealing import open_sealed
from tests.integration.api.conftest import User
from tests.integration.api.peers import Peers
from tests.integration.api.test_launch import commands

VALUE = "rpa_THE0VERY0SECRET0VALUE"


async def test_a_secret_leaves_sealed_for_its_owner_and_name(user: User, stranger: User, peers: Peers) -> None:
    with capture_logs() as logs:
        set_ = await user.http.put("/v1/secrets/runpod", json={"value": VALUE})
    assert set_.status_code == 200
    assert set_.json()["state"] == "valid"
    (box,) = peers.boxes
    assert (box.owner, box.name) == (user.user_id, "runpod")
    opened = open_sealed(box.sealed, owner=user.user_id, name="runpod", private_key=peers.vault_key)
    assert opened.get_secret_value() == VALUE
    assert VALUE not in f"{set_.text} {box!r} {logs}"
    mine, others = await user.http.get("/v1/secrets"), await stranger.http.get("/v1/secrets")
    assert [secret["name"] for secret in mine.json()["secrets"]] == ["runpod"]
    assert others.json()["secrets"] == []
    assert VALUE not in mine.text


async def test_a_secret_is_removed_by_its_owner_only(user: User, stranger: User) -> None:
    await user.http.put("/v1/secrets/wandb", json={"value": VALUE})
    assert (await stranger.http.delete("/v1/secrets/wandb")).status_code == 404
    removed = await user.http.delete("/v1/secrets/wandb")
    assert (removed.status_code, removed.json()["secrets"]) == (200, [])


@pytest.mark.parametrize(
    ("name", "body", "status"),
    [
        ("runpod", {"value": ""}, 422),
        ("runpod", {"value": VALUE * 400}, 422),
        ("runpod", {"value": VALUE, "also": VALUE}, 422),
        ("runpod", {"value": [VALUE]}, 422),
        ("runpod", {"secret": VALUE}, 422),
        ("Not A Name", {"value": VALUE}, 422),
        ("nowhere", {"value": VALUE}, 404),
    ],
)
async def test_what_is_refused_is_not_repeated(
    user: User, peers: Peers, name: str, body: dict[str, object], status: int
) -> None:
    with capture_logs() as logs:
        response = await user.http.put(f"/v1/secrets/{name}", json=body)
    assert response.status_code == status
    assert VALUE not in f"{response.text} {response.headers} {logs}"
    assert response.json()["next_step"] or status == 404
    assert peers.boxes == []


async def test_while_the_deployer_is_away_nothing_is_kept_for_later(user: User, peers: Peers) -> None:
    await peers.stop("deployer")
    response = await user.http.put("/v1/secrets/runpod", json={"value": VALUE})
    assert response.status_code == 503
    assert VALUE not in response.text


async def test_the_deployer_is_asked_for_the_owners_accounts(user: User, peers: Peers) -> None:
    await user.http.get("/v1/providers")
    await user.http.get("/v1/offers")
    await user.plan()
    asked = [question for question in peers.asked if isinstance(question, HealthQuery | OffersQuery | InspectModel)]
    assert {type(question) for question in asked} == {HealthQuery, OffersQuery, InspectModel}
    assert {question.owner for question in asked} == {user.user_id}


async def test_a_launch_asks_for_secrets_by_name_and_another_choice_is_another_plan(
    user: User, clean_bus: RunningNats
) -> None:
    plain, asking = await user.plan(), await user.plan(secrets=["wandb", "huggingface"])
    assert plain["plan_hash"] != asking["plan_hash"]
    assert (await user.launch(asking)).status_code == 201
    (command,) = await commands(clean_bus, at_least=1)
    assert command.secrets == ["huggingface", "wandb"]


async def test_a_provider_key_is_never_given_to_a_pod(user: User) -> None:
    wanted = {"dataset_version_id": "dataset-00000000000000aa", "provider": "local", "secrets": ["runpod"]}
    response = await user.http.post("/v1/plans", json=wanted)
    assert response.status_code == 422
    assert any("secrets" in error["field"] for error in response.json()["errors"])

"""Launching: one job, one command, and only for what was approved."""

import asyncio
from datetime import timedelta

import asyncpg
import httpx
import pytest

from stoker.stack.standalone import RunningNats
from stoker_shared.clock import ManualClock
from stoker_shared.commands import LaunchJob
from stoker_shared.rpc.deployer import ProviderHealth
from tests.integration.api.conftest import User
from tests.integration.api.peers import Peers
from tests.support.bus import stored, until
from tests.support.servers import TestDatabase
from tests.unit.api.examples import DATASET_ID, NOW


async def commands(server: RunningNats, *, at_least: int) -> list[LaunchJob]:
    async def enough() -> list[LaunchJob]:
        found = [LaunchJob.model_validate_json(message.data or b"") for message in await stored(server, "COMMANDS")]
        return found if len(found) >= at_least else []

    return await until(enough, what=f"{at_least} commands")


async def test_a_launch_answers_with_the_job_and_commands_the_deployer(user: User, clean_bus: RunningNats) -> None:
    plan = await user.plan(
        environment={"HF_TOKEN": "x"}, docker_image="img:1", volume_size_gb=20, budget_usd="3", keep_alive_seconds=90
    )
    response = await user.launch(plan)
    job = response.json()
    assert response.status_code == 201
    assert (job["status"], job["sequence"], job["is_over"], job["cost_micro_usd_now"]) == ("queued", 0, False, 0)
    assert job["provider"] == "local"
    assert job["name"] == "smollm2-135m on animals"

    [command] = await commands(clean_bus, at_least=1)
    assert command.job_id == job["job_id"]
    assert (command.owner, command.plan_id, command.plan_hash) == (user.user_id, plan["plan_id"], plan["plan_hash"])
    assert (command.docker_image, command.volume_size_gb) == ("img:1", 20)
    assert (command.keep_alive_seconds, plan["frozen"]["keep_alive_seconds"]) == (90, 90)
    assert command.environment == {"HF_TOKEN": "x"}
    assert command.budget_micro_usd == 3_000_000
    assert command.dataset_version_id == DATASET_ID
    assert command.recipe.model_dump(mode="json") == plan["frozen"]["recipe"]
    assert [offer.gpu_type for offer in command.offers] == ["cpu"]


async def test_the_same_key_is_the_same_job(user: User, clean_bus: RunningNats) -> None:
    plan = await user.plan()
    first, again = await user.launch(plan, key="k1"), await user.launch(plan, key="k1")
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json() == again.json()
    other = await user.launch(plan, key="k2")
    assert other.json()["job_id"] != first.json()["job_id"]
    assert len(await commands(clean_bus, at_least=2)) == 2


async def test_launches_at_the_same_time_under_one_key_make_one_job(user: User, clean_bus: RunningNats) -> None:
    plan = await user.plan()
    answers = await asyncio.gather(*(user.launch(plan, key="k") for _ in range(10)))
    assert sorted(answer.status_code for answer in answers) == [200] * 9 + [201]
    assert len({answer.json()["job_id"] for answer in answers}) == 1
    await user.launch(plan)
    assert len(await commands(clean_bus, at_least=2)) == 2


@pytest.mark.parametrize(("is_same_plan", "status"), [(True, 200), (False, 409)])
async def test_a_launch_that_loses_a_race_for_its_key_finds_the_winner(
    user: User, api_database: TestDatabase, *, is_same_plan: bool, status: int
) -> None:
    plan, other = await user.plan(), await user.plan()
    winner = plan if is_same_plan else other
    connection = await asyncpg.connect(api_database.url("api", driver="postgresql"))
    # Inside a transaction the list of activities stands still.
    observer = await asyncpg.connect(api_database.url("api", driver="postgresql"))
    try:
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute(_WINNER, "job-00000000000000ee", user.user_id, winner["plan_id"], "k", NOW)
        launch = asyncio.create_task(user.launch(plan, key="k"))
        # The loser has seen no earlier launch and now waits for the winner's row.
        await until(lambda: observer.fetchval(_IS_SOMEBODY_WAITING), what="the loser waits")
        await transaction.commit()
        response = await launch
    finally:
        await connection.close()
        await observer.close()
    assert response.status_code == status
    assert "job-00000000000000ee" in response.text
    assert len((await user.http.get("/v1/jobs")).json()["jobs"]) == 1


_WINNER = """
INSERT INTO job_views (job_id, owner, plan_id, idempotency_key, status, created_at, updated_at)
VALUES ($1, $2, $3, $4, 'queued', $5, $5)
"""
_IS_SOMEBODY_WAITING = """
SELECT count(*) > 0 FROM pg_stat_activity
WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE 'INSERT INTO job_views%'
"""


@pytest.mark.parametrize(("priority", "status"), [(-10, 201), (10, 201), (11, 422), ("high", 422)])
async def test_a_launch_may_say_its_priority(user: User, clean_bus: RunningNats, priority: object, status: int) -> None:
    plan = await user.plan()
    body = {"plan_id": plan["plan_id"], "plan_hash": plan["plan_hash"], "priority": priority}
    assert (await user.http.post("/v1/jobs", json=body)).status_code == status
    if status == 201:
        assert [command.priority for command in await commands(clean_bus, at_least=1)] == [priority]


async def test_without_a_key_every_launch_is_a_new_job(user: User) -> None:
    plan = await user.plan()
    answers = [await user.launch(plan) for _ in range(3)]
    assert len({answer.json()["job_id"] for answer in answers}) == 3


async def test_a_key_that_launched_another_plan_is_refused(user: User) -> None:
    await user.launch(await user.plan(), key="k")
    response = await user.launch(await user.plan(), key="k")
    assert_problem(response, 409, "idempotency_key_reused")


async def test_keys_of_different_users_do_not_meet(user: User, stranger: User, peers: Peers) -> None:
    first = await user.launch(await user.plan(), key="k")
    peers.own_dataset(stranger.user_id)
    second = await stranger.launch(await stranger.plan(), key="k")
    assert (first.status_code, second.status_code) == (201, 201)
    assert first.json()["job_id"] != second.json()["job_id"]


async def test_another_hash_launches_nothing(user: User, clean_bus: RunningNats) -> None:
    response = await user.launch(await user.plan(), plan_hash="0" * 64)
    assert_problem(response, 409, "plan_hash_differs")
    assert (await user.http.get("/v1/jobs")).json() == {"jobs": []}
    assert await stored(clean_bus, "COMMANDS") == []


async def test_a_blocked_plan_is_refused_with_its_faults(user: User, peers: Peers) -> None:
    peers.own_dataset(user.user_id, state="uploading")
    response = await user.launch(await user.plan())
    assert_problem(response, 409, "plan_blocked")
    assert [error["field"] for error in response.json()["errors"]] == ["dataset_not_stored"]


async def test_plans_of_others_cannot_be_launched(user: User, stranger: User) -> None:
    assert_problem(await stranger.launch(await user.plan()), 404, "not_found")


async def test_an_old_plan_is_stale(user: User, clock: ManualClock) -> None:
    plan = await user.plan()
    clock.advance(timedelta(hours=1))
    response = await user.launch(plan)
    assert_problem(response, 409, "plan_stale")


async def test_a_key_finds_its_job_even_when_the_plan_is_stale(user: User, clock: ManualClock) -> None:
    plan = await user.plan()
    first = await user.launch(plan, key="k")
    clock.advance(timedelta(days=2))
    again = await user.launch(plan, key="k")
    assert (again.status_code, again.json()["job_id"]) == (200, first.json()["job_id"])


async def test_a_dearer_offer_or_a_lost_dataset_makes_a_plan_stale(
    user: User, peers: Peers, clock: ManualClock
) -> None:
    plan = await user.plan()
    clock.advance(timedelta(minutes=1))
    peers.offers = [peers.offers[0].model_copy(update={"price_micro_usd_per_hour": 200_000})]
    peers.own_dataset(user.user_id, state="rejected")
    response = await user.launch(plan)
    assert_problem(response, 409, "plan_stale")
    assert "rose from $0.1000 to $0.2000" in response.json()["detail"]
    assert "is rejected" in response.json()["detail"]


async def test_an_unchanged_plan_is_looked_at_once_and_then_counts_as_fresh(
    user: User, peers: Peers, clock: ManualClock
) -> None:
    plan = await user.plan()
    clock.advance(timedelta(minutes=1))
    peers.asked.clear()
    assert (await user.launch(plan)).status_code == 201
    assert len(peers.asked) == 2
    assert (await user.launch(plan)).status_code == 201
    assert len(peers.asked) == 2


async def test_a_fresh_plan_is_launched_while_the_others_are_away(user: User, peers: Peers) -> None:
    plan = await user.plan()
    await peers.stop("deployer")
    await peers.stop("dataset_gateway")
    assert (await user.launch(plan)).status_code == 201


async def test_a_plan_that_cannot_be_looked_at_is_not_launched(user: User, peers: Peers, clock: ManualClock) -> None:
    plan = await user.plan()
    clock.advance(timedelta(minutes=1))
    await peers.stop("deployer")
    response = await user.launch(plan)
    assert response.status_code == 503
    assert (await user.http.get("/v1/jobs")).json() == {"jobs": []}


@pytest.mark.parametrize("body", [{}, {"plan_id": "x", "plan_hash": "0" * 64}, {"plan_id": "plan-0000000000000001"}])
async def test_a_malformed_launch_is_refused(user: User, body: dict[str, str]) -> None:
    assert_problem(await user.http.post("/v1/jobs", json=body), 422, "request_invalid")


async def test_one_call_plans_and_launches(user: User, peers: Peers, clean_bus: RunningNats) -> None:
    body = await deploy_body(
        user, budget_limit="1.50", environment_variables={"A": "b"}, docker_image="img:2", keep_alive_seconds=60
    )
    response = await user.http.post("/v1/training/deploy/local", json=body)
    assert response.status_code == 201, response.text
    deployed = response.json()
    [command] = await commands(clean_bus, at_least=1)
    assert (command.job_id, command.plan_hash) == (deployed["job"]["job_id"], deployed["plan_hash"])
    assert (command.budget_micro_usd, command.environment, command.docker_image) == (1_500_000, {"A": "b"}, "img:2")
    assert command.keep_alive_seconds == 60

    place = f"/v1/training/deploy/local/{deployed['job']['job_id']}"
    assert (await user.http.get(place)).json()["status"] == "queued"
    assert (await user.http.get(place.replace("local", "runpod"))).status_code == 404
    assert (await user.http.delete(place)).status_code == 202


async def test_one_call_answers_with_the_faults_of_its_plan(user: User, peers: Peers, clean_bus: RunningNats) -> None:
    down = ProviderHealth(provider="local", is_usable=False, detail="it is down", next_step="Start it.")
    peers.providers = [down.model_copy(update={"machines_are_here": True})]
    response = await user.http.post("/v1/training/deploy/local", json=await deploy_body(user))
    assert_problem(response, 422, "plan_blocked")
    assert response.json()["blocking"] == [
        {"code": "provider_not_usable", "message": "local cannot be used: it is down", "next_step": "Start it."}
    ]
    assert (await user.http.get(f"/v1/plans/{response.json()['plan_id']}")).json()["is_launchable"] is False
    assert await stored(clean_bus, "COMMANDS") == []


async def test_one_call_again_under_the_same_key_is_the_same_job(user: User) -> None:
    body, headers = await deploy_body(user), {"Idempotency-Key": "k"}
    first = await user.http.post("/v1/training/deploy/local", json=body, headers=headers)
    again = await user.http.post("/v1/training/deploy/local", json=body, headers=headers)
    assert first.json() == again.json()


async def test_one_call_many_times_at_once_under_the_same_key_is_one_job(user: User) -> None:
    body, headers = await deploy_body(user), {"Idempotency-Key": "k"}
    calls = [user.http.post("/v1/training/deploy/local", json=body, headers=headers) for _ in range(5)]
    answers = await asyncio.gather(*calls)
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["job"]["job_id"] for answer in answers}) == 1


async def deploy_body(user: User, **changes: object) -> dict[str, object]:
    recipe = {"name": "mine", "recipe": {"model": {"name_or_path": "smollm2-135m"}}}
    recipe_id = (await user.http.post("/v1/recipes", json=recipe)).json()["recipe_id"]
    return {"training_config_id": recipe_id, "dataset_version_id": DATASET_ID, **changes}


def assert_problem(response: httpx.Response, status: int, code: str) -> None:
    assert (response.status_code, response.json()["code"]) == (status, code), response.text
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["trace_id"] == response.headers["x-trace-id"]

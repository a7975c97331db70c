"""Budgets are the deployer's; the api says whose they are and refuses what is no amount."""

import pytest

from stoker.stack.standalone import RunningNats
from stoker_shared.money import ONE_USD
from tests.integration.api.conftest import User
from tests.integration.api.peers import Peers
from tests.integration.api.test_launch import commands


async def test_budgets_are_set_and_listed_for_their_owner_only(user: User, stranger: User, peers: Peers) -> None:
    own = await user.http.put("/v1/budgets/user", json={"limit_usd": "12.50"})
    project = await user.http.put("/v1/budgets/project", json={"project": "p 1", "limit_usd": None})
    assert (own.status_code, project.status_code) == (200, 200)
    assert (own.json()["kind"], own.json()["limit_micro_usd"]) == ("user", 12_500_000)
    assert (project.json()["name"], project.json()["limit_micro_usd"]) == ("p 1", None)
    assert {limit.owner for limit in peers.limits} == {user.user_id}
    listed = (await user.http.get("/v1/budgets")).json()["budgets"]
    assert [(budget["kind"], budget["name"]) for budget in listed] == [("user", ""), ("project", "p 1")]
    assert (await stranger.http.get("/v1/budgets")).json() == {"budgets": []}


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("user", {"limit_usd": "a lot"}, "body.limit_usd"),
        ("user", {"limit_usd": "-1"}, "body.limit_usd"),
        ("user", {}, "body.limit_usd"),
        ("user", {"limit_usd": "1", "project": "p"}, "body.project"),
        ("project", {"limit_usd": "1"}, "body.project"),
        ("project", {"limit_usd": "1", "project": "../x"}, "body.project"),
    ],
)
async def test_what_is_no_limit_is_refused_by_its_field(
    user: User, path: str, body: dict[str, str], field: str
) -> None:
    response = await user.http.put(f"/v1/budgets/{path}", json=body)
    assert response.status_code == 422
    assert field in [error["field"] for error in response.json()["errors"]]


async def test_a_project_is_frozen_and_launched_and_the_ceiling_too(user: User, clean_bus: RunningNats) -> None:
    plain = await user.plan()
    plan = await user.plan(project="p", max_price_usd_per_hour="1.00")
    assert plan["plan_hash"] != plain["plan_hash"]
    assert (await user.launch(plan)).status_code == 201
    [command] = await commands(clean_bus, at_least=1)
    assert (command.project, command.max_price_micro_usd_per_hour) == ("p", ONE_USD)


async def test_a_plan_whose_every_machine_is_too_dear_is_blocked_with_the_prices(user: User) -> None:
    plan = await user.plan(max_price_usd_per_hour="0.000001")
    (fault,) = [fault for fault in plan["blocking"] if fault["code"] == "price_above_ceiling"]
    assert "the plan may pay $0.0000" in fault["message"]
    assert not plan["is_launchable"]

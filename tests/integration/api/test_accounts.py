"""Who may come in."""

from datetime import timedelta

import pytest

from stoker_api.accounts.service import BOOTSTRAP_USER
from stoker_shared.clock import ManualClock
from stoker_shared.tokens import token_hash
from tests.integration.api.conftest import Api, Serve, User

KEY = "stk_" + "A" * 43
OTHER_KEY = "stk_" + "B" * 43


async def test_a_key_opens_its_users_account(user: User) -> None:
    me = (await user.http.get("/v1/me")).json()
    assert (me["user_id"], me["name"], me["is_admin"]) == (user.user_id, "ada", False)


@pytest.mark.parametrize("path", ["/v1/me", "/v1/jobs", "/v1/plans/plan-0000000000000001", "/v1/datasets"])
async def test_without_a_key_nothing_is_answered_but_401(api: Api, path: str) -> None:
    async with api.client(None) as http:
        response = await http.get(path)
    assert response.status_code == 401
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["www-authenticate"] == "Bearer"
    assert response.json()["code"] == "unauthorised"
    assert response.json()["next_step"]


@pytest.mark.parametrize("key", [KEY, "stk_x", "nonsense"])
async def test_an_unknown_key_is_refused_on_every_way_in(api: Api, key: str) -> None:
    body = {"plan_id": "plan-0000000000000001", "plan_hash": "0" * 64}
    async with api.client(key) as http:
        assert (await http.get("/v1/me")).status_code == 401
        assert (await http.post("/v1/jobs", json=body)).status_code == 401


async def test_an_expired_key_is_refused(api: Api, clock: ManualClock) -> None:
    _, key = await api.parts.accounts.create_user("bob", expires_at=clock.now() + timedelta(hours=1))
    body = {"plan_id": "plan-0000000000000001", "plan_hash": "0" * 64}
    async with api.client(key.get_secret_value()) as http:
        assert (await http.get("/v1/me")).status_code == 200
        assert (await http.post("/v1/jobs", json=body)).status_code == 404
        clock.advance(timedelta(hours=1))
        assert (await http.get("/v1/me")).status_code == 401
        assert (await http.post("/v1/jobs", json=body)).status_code == 401


async def test_the_bootstrap_key_opens_an_admin_account_however_often_the_api_starts(serve: Serve) -> None:
    for _ in range(2):
        async with serve(bootstrap_key_sha256=token_hash(KEY)) as api, api.client(KEY) as http:
            me = (await http.get("/v1/me")).json()
            assert (me["user_id"], me["is_admin"]) == (BOOTSTRAP_USER, True)


async def test_a_new_bootstrap_key_opens_the_same_account_and_closes_the_old_one(serve: Serve) -> None:
    async with serve(bootstrap_key_sha256=token_hash(KEY)):
        pass
    async with serve(bootstrap_key_sha256=token_hash(OTHER_KEY)) as api:
        async with api.client(OTHER_KEY) as http:
            assert (await http.get("/v1/me")).json()["user_id"] == BOOTSTRAP_USER
        async with api.client(KEY) as http:
            assert (await http.get("/v1/me")).status_code == 401

"""Whose a key is: asked of GraphQL, which decides nothing about whether the key is good."""

import json

import httpx
import pytest

from stoker_shared.errors import AuthFailed, ProviderError
from tests.unit.deployer.runpod.account import URL, account, problem

GRAPHQL = "https://api.runpod.io/graphql"
NOT_TOLD = {
    "refused": httpx.Response(200, json={"errors": [{"message": "Unauthorized"}], "data": {"myself": None}}),
    "broken": httpx.Response(200, json={"errors": [{"message": "x"}], "data": None}),
    "left out": httpx.Response(200, json={"data": {"myself": {}}}),
    "of another form": httpx.Response(200, json={"data": {"myself": {"id": ["user_1"]}}}),
    "not authorised": httpx.Response(401),
    "firewall": httpx.Response(403, text="error code: 1010"),
    "retired": httpx.Response(410),
    "limited": httpx.Response(429),
    "away": httpx.Response(502),
}


async def test_an_account_is_named_by_its_own_id() -> None:
    async with account() as here:
        here.list_is()
        asked = here.routes.post(GRAPHQL).respond(json={"data": {"myself": {"id": "user_2abc"}}})
        assert await here.provider.account_id() == "user_2abc"
        assert "myself { id }" in json.loads(asked.calls.last.request.content)["query"]


@pytest.mark.parametrize("answer", NOT_TOLD.values(), ids=NOT_TOLD.keys())
async def test_a_good_key_whose_account_is_not_told_is_good(answer: httpx.Response) -> None:
    async with account() as here:
        here.list_is()
        here.routes.post(GRAPHQL).mock(return_value=answer)
        assert await here.provider.account_id() == ""


@pytest.mark.parametrize(("answer", "error"), [(problem(401), AuthFailed), (httpx.Response(500), ProviderError)])
async def test_a_key_that_v2_does_not_take_is_not_asked_about(
    answer: httpx.Response, error: type[ProviderError]
) -> None:
    async with account() as here:
        here.routes.get(f"{URL}/pods").mock(return_value=answer)
        told = here.routes.post(GRAPHQL).respond(json={"data": {"myself": {"id": "user_2abc"}}})
        with pytest.raises(error):
            await here.provider.account_id()
        assert not told.called

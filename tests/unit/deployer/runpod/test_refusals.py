"""Every answer that is no success, as the deployer gets to know it."""

from datetime import timedelta

import httpx
import pytest

from stoker_deployer.jobs.launching import REFUSALS
from stoker_deployer.providers import Unknown
from stoker_deployer.providers.runpod.errors import ApiRetired, Unreachable
from stoker_shared.errors import (
    AuthFailed,
    InsufficientFunds,
    InvalidRequest,
    NoCapacity,
    ProviderError,
    RateLimited,
    UnknownOutcome,
)
from tests.unit.deployer.runpod.account import NAME, NO_CAPACITY, URL, account, order, problem

CLOUDFLARE = httpx.Response(403, text="error code: 1010", headers={"cf-ray": "8f2a"})
OLD_CAPACITY = "create pod: There are no instances currently available"

ORDERS: dict[str, tuple[httpx.Response, type[ProviderError]]] = {
    "no stock": (problem(400, NO_CAPACITY), NoCapacity),
    "no stock, in the words of v1": (problem(400, OLD_CAPACITY), NoCapacity),
    "no stock in the data centre": (
        problem(400, "create pod: could not find any pods with required specifications"),
        NoCapacity,
    ),
    "a host too small": (problem(400, "This machine does not have the resources to deploy your pod"), NoCapacity),
    "a rule broken": (problem(400, "mounts.persistent and mounts.network are mutually exclusive"), InvalidRequest),
    "a bad key": (problem(401, "missing bearer token"), AuthFailed),
    "no money": (problem(402, "payment required"), InsufficientFunds),
    "no money, told as a rule": (problem(400, "Your account has insufficient funds."), InsufficientFunds),
    "a key without the scope": (problem(403, "access denied"), AuthFailed),
    "a firewall": (CLOUDFLARE, Unreachable),
    "a proxy": (httpx.Response(407, text="<html>"), Unreachable),
    "a template that is not there": (problem(404, "resource not found"), InvalidRequest),
    "a wrong address": (httpx.Response(404, text="<html>not here</html>"), Unreachable),
    "a method that is not there": (problem(405, "not allowed"), InvalidRequest),
    "too slow for the server": (problem(408, "timeout"), UnknownOutcome),
    "a conflict": (problem(409, "conflict"), InvalidRequest),
    "v1 after its end": (problem(410, "gone"), ApiRetired),
    "too large": (problem(413, "body exceeds 102400 bytes"), InvalidRequest),
    "a wrong form": (
        problem(422, "Request validation failed.", errors=["$: additional properties 'x'"]),
        InvalidRequest,
    ),
    "too many calls": (problem(429, "rate limit exceeded for the minute window"), RateLimited),
    "too many calls, says the firewall": (httpx.Response(429, text="error code: 1015"), RateLimited),
    "broken inside": (problem(500, "create pod: Something went wrong."), UnknownOutcome),
    "broken inside, in words of capacity": (problem(500, OLD_CAPACITY), UnknownOutcome),
    "a bad gateway": (httpx.Response(502, text="<html>"), UnknownOutcome),
    "not now": (problem(503, "unavailable"), UnknownOutcome),
    "the gateway waited": (httpx.Response(504), UnknownOutcome),
    "teapot": (problem(418, "?"), UnknownOutcome),
    "moved": (httpx.Response(302, headers={"Location": "https://elsewhere.test/"}), UnknownOutcome),
    "half an answer": (httpx.Response(201, json={"id": "7h9k2m4n6p"}), UnknownOutcome),
    "no JSON": (httpx.Response(201, text="created"), UnknownOutcome),
}
CERTAIN = (NoCapacity, AuthFailed, InsufficientFunds, InvalidRequest, RateLimited)


@pytest.mark.parametrize(("answer", "error"), ORDERS.values(), ids=ORDERS.keys())
async def test_an_order_is_refused_for_what_it_is_and_sent_once(
    answer: httpx.Response, error: type[ProviderError]
) -> None:
    async with account() as here:
        here.list_is()
        sent = here.routes.post(f"{URL}/pods").mock(return_value=answer)
        with pytest.raises(error) as refused:
            await here.provider.launch(order())
        assert isinstance(refused.value, CERTAIN) == issubclass(error, CERTAIN)
        assert sent.call_count == 1
        assert refused.value.next_step


@pytest.mark.parametrize(
    "failure",
    [httpx.ReadTimeout, httpx.ConnectTimeout, httpx.ConnectError, httpx.ReadError, httpx.RemoteProtocolError],
)
async def test_an_order_without_an_answer_is_unknown_and_sent_once(failure: type[httpx.TransportError]) -> None:
    async with account() as here:
        here.list_is()
        sent = here.routes.post(f"{URL}/pods").mock(side_effect=failure)
        with pytest.raises(UnknownOutcome):
            await here.provider.launch(order())
        assert sent.call_count == 1


async def test_a_retired_api_ends_the_job_instead_of_being_looked_at_again() -> None:
    async with account() as here:
        here.routes.get(f"{URL}/pods").mock(return_value=httpx.Response(410))
        with pytest.raises(ApiRetired) as refused:
            await here.provider.launch(order())
        assert isinstance(refused.value, tuple(REFUSALS))
        assert "RUNPOD_URL" in refused.value.next_step
        assert not (await here.provider.health()).is_usable


async def test_a_firewall_is_told_from_a_key_without_rights() -> None:
    async with account() as here:
        here.routes.get(url__startswith=f"{URL}/pods").mock(return_value=CLOUDFLARE)
        with pytest.raises(Unreachable) as refused:
            await here.provider.list_machines()
        assert "firewall" in refused.value.detail
        assert "error code: 1010, ray 8f2a" in refused.value.detail
        assert isinstance(await here.provider.describe("7h9k2m4n6p"), Unknown)


async def test_the_firewalls_404_is_not_the_word_that_a_pod_is_gone() -> None:
    async with account() as here:
        here.routes.get(f"{URL}/pods/7h9k2m4n6p").mock(return_value=httpx.Response(404, text="<html>"))
        assert isinstance(await here.provider.describe("7h9k2m4n6p"), Unknown)


async def test_a_wait_that_is_asked_for_is_handed_on() -> None:
    async with account() as here:
        answer = problem(429, "rate limit exceeded for the minute window")
        answer.headers["Retry-After"] = "12"
        here.list_is()
        here.routes.post(f"{URL}/pods").mock(return_value=answer)
        with pytest.raises(RateLimited) as refused:
            await here.provider.launch(order())
        assert refused.value.retry_after == timedelta(seconds=12)


async def test_of_a_422_the_missing_fields_are_told_and_not_those_that_only_follow() -> None:
    errors = ["$: missing properties: 'disk'", "$: additional properties 'gpu' not allowed"]
    async with account() as here:
        here.list_is()
        here.routes.post(f"{URL}/pods").mock(return_value=problem(422, "Request validation failed.", errors=errors))
        with pytest.raises(InvalidRequest) as refused:
            await here.provider.launch(order())
        assert "'disk'" in refused.value.detail
        assert "'gpu'" not in refused.value.detail


async def test_a_look_whose_connection_broke_is_made_once_more() -> None:
    async with account() as here:
        route = here.routes.get(f"{URL}/pods").mock(
            side_effect=[httpx.RemoteProtocolError("closed"), httpx.Response(200, json={"pods": []})]
        )
        assert await here.provider.find(NAME) == []
        assert route.call_count == 2


@pytest.mark.parametrize("failure", [httpx.ReadTimeout, httpx.ConnectError, httpx.ReadError])
async def test_a_look_without_an_answer_is_unknown(failure: type[httpx.TransportError]) -> None:
    async with account() as here:
        route = here.routes.get(f"{URL}/pods").mock(side_effect=failure)
        with pytest.raises(Unreachable):
            await here.provider.list_machines()
        assert route.call_count <= 2

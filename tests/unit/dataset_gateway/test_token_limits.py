"""Limits of tokens and of addresses, on a clock that stands still until it is moved."""

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from stoker_dataset_gateway.downloads import limits as limits_module
from stoker_dataset_gateway.downloads.limits import TokenAllowance, TokenLimits
from stoker_dataset_gateway.tokens.failed_tries import FailedTries, TryRules
from stoker_dataset_gateway.tokens.guard import TokenGuard
from stoker_shared.clock import ManualClock
from stoker_shared.errors import TooManyRequests

RULES = TryRules(
    free=3,
    first_wait=timedelta(seconds=1),
    longest=timedelta(seconds=60),
    forget_after=timedelta(minutes=10),
    most_addresses=5,
)


@pytest.fixture
def clock() -> ManualClock:
    """A clock."""
    return ManualClock(datetime(2026, 11, 22, tzinfo=UTC))


def test_a_burst_is_free_then_each_request_waits_for_its_share(clock: ManualClock) -> None:
    limits = TokenLimits(TokenAllowance(requests_per_minute=60, burst=3, downloads_at_once=1), clock=clock)
    for _ in range(3):
        limits.count_request("a")
    with pytest.raises(TooManyRequests) as refused:
        limits.count_request("a")
    assert refused.value.retry_after == timedelta(seconds=1)
    limits.count_request("b")
    clock.advance(timedelta(seconds=1))
    limits.count_request("a")
    with pytest.raises(TooManyRequests):
        limits.count_request("a")
    clock.advance(timedelta(hours=1))
    for _ in range(3):
        limits.count_request("a")


def test_the_table_of_tokens_is_bounded(clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits_module, "MOST_TOKENS", 10)
    limits = TokenLimits(TokenAllowance(requests_per_minute=1, burst=1, downloads_at_once=1), clock=clock)
    for number in range(30):
        limits.count_request(str(number))
    limits.count_request("0")  # forgotten, so free again
    with pytest.raises(TooManyRequests):
        limits.count_request("29")


def test_a_download_that_ends_in_any_way_makes_room(clock: ManualClock) -> None:
    limits = TokenLimits(TokenAllowance(requests_per_minute=60, burst=9, downloads_at_once=2), clock=clock)
    with limits.download("a"), limits.download("a"), limits.download("b"):
        with pytest.raises(TooManyRequests), limits.download("a"):
            pass
        assert limits.under_way == 3
    with pytest.raises(KeyError), limits.download("a"):
        raise KeyError
    assert limits.under_way == 0


def test_each_failed_try_beyond_the_free_ones_doubles_the_wait_up_to_the_longest(clock: ManualClock) -> None:
    tries = FailedTries(RULES, clock=clock)
    waits = []
    for _ in range(12):
        tries.note("192.0.2.1")
        waits.append(tries.wait("192.0.2.1").total_seconds())
    assert waits == [0, 0, 0, 1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert tries.wait("192.0.2.2").total_seconds() <= 0
    clock.advance(timedelta(seconds=60))
    assert tries.wait("192.0.2.1").total_seconds() <= 0
    tries.note("192.0.2.1")
    assert tries.wait("192.0.2.1").total_seconds() == 60
    clock.advance(timedelta(minutes=11))
    tries.note("192.0.2.1")
    assert tries.wait("192.0.2.1").total_seconds() <= 0


def test_the_table_of_addresses_is_bounded_and_a_network_of_ipv6_is_one_address(clock: ManualClock) -> None:
    tries = FailedTries(RULES, clock=clock)
    for number in range(20):
        tries.note(f"2001:db8::{number:x}")
    assert len(tries) == 1
    assert tries.wait("2001:db8::ffff").total_seconds() > 0
    for number in range(20):
        tries.note(f"192.0.2.{number}")
    assert len(tries) == 5
    tries.note("not an address")
    assert tries.wait("::ffff:192.0.2.19") == tries.wait("192.0.2.19")


async def _answer(request: Request) -> Response:
    token = request.query_params.get("token") or request.headers.get("authorization", "")
    return Response(status_code=200 if token.endswith("good") else 401)


def guarded(clock: ManualClock, *, peer: str = "192.0.2.1", tries: FailedTries | None = None) -> httpx.AsyncClient:
    """A client behind the guard."""
    app: Any = TokenGuard(Starlette(routes=[Route("/", _answer)]), tries=tries or FailedTries(RULES, clock=clock))
    transport = httpx.ASGITransport(app=app, client=(peer, 1))
    return httpx.AsyncClient(transport=transport, base_url="http://gateway")


async def test_an_address_that_guesses_is_sent_away_and_its_good_tokens_still_work(clock: ManualClock) -> None:
    async with guarded(clock) as client:
        assert (await client.get("/?token=good")).status_code == 200
        statuses = [(await client.get(f"/?token=guess{number}")).status_code for number in range(5)]
        assert statuses == [401, 401, 401, 401, 429]
        refused = await client.get("/", headers={"Authorization": "Bearer guess"})
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
        assert refused.json()["code"] == "too_many_requests"
        assert (await client.get("/?token=good")).status_code == 200
        assert (await client.get("/?token=another_good")).status_code == 429
        clock.advance(timedelta(seconds=2))
        assert (await client.get("/?token=another_good")).status_code == 200
        assert (await client.get("/")).status_code == 401  # without a token nothing is guessed


async def test_others_are_not_slowed_and_a_forwarded_address_is_not_believed_here(clock: ManualClock) -> None:
    tries = FailedTries(RULES, clock=clock)
    async with guarded(clock, tries=tries) as guesser, guarded(clock, peer="192.0.2.2", tries=tries) as other:
        for number in range(6):
            await guesser.get("/?token=x", headers={"X-Forwarded-For": f"198.51.100.{number}"})
        assert (await guesser.get("/?token=x")).status_code == 429
        assert (await other.get("/?token=good")).status_code == 200

"""Calls stay below what RunPod allows, and an end is never kept waiting."""

from datetime import timedelta

import httpx
import pytest

from stoker_deployer.providers.runpod.pacing import Pace, Urgency
from stoker_shared.clock import ManualClock
from stoker_shared.errors import RateLimited
from tests.unit.deployer.runpod.account import NOW, URL, account, order, pod, problem

POLICY = '"minute";q=60;w=60, "hour";q=3000;w=3600, "day";q=50000;w=86400'


class Paced:
    """A pace whose sleeps move its clock."""

    def __init__(self) -> None:
        self.clock = ManualClock(NOW)
        self.slept: list[float] = []
        self.pace = Pace(clock=self.clock, sleep=self._sleep)

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.clock.advance(timedelta(seconds=seconds))

    def answered(self, limit: str, policy: str = POLICY, *, refused_for: timedelta | None = None) -> None:
        headers = {"RateLimit": limit, "RateLimit-Policy": policy}
        self.pace.note(httpx.Response(200, headers=headers), refused_for=refused_for)


async def test_without_a_word_of_limits_nobody_waits() -> None:
    paced = Paced()
    for _ in range(1000):
        await paced.pace.turn(Urgency.LOOK)
    assert paced.slept == []


async def test_looks_leave_a_reserve_to_orders_and_orders_leave_one_to_ends() -> None:
    paced = Paced()
    paced.answered('"minute";r=6;t=30, "hour";r=2800;t=1812')
    with pytest.raises(RateLimited) as refused:
        await paced.pace.turn(Urgency.LOOK)
    assert refused.value.retry_after == timedelta(seconds=30)
    for _ in range(5):
        await paced.pace.turn(Urgency.ORDER)
    with pytest.raises(RateLimited):
        await paced.pace.turn(Urgency.ORDER)
    for _ in range(20):
        await paced.pace.turn(Urgency.RELEASE)
    assert paced.slept == []


async def test_calls_between_two_answers_are_counted() -> None:
    paced = Paced()
    paced.answered('"minute";r=10;t=30')
    for _ in range(4):
        await paced.pace.turn(Urgency.LOOK)
    with pytest.raises(RateLimited):
        await paced.pace.turn(Urgency.LOOK)


async def test_a_short_wait_is_waited_and_the_window_is_then_over() -> None:
    paced = Paced()
    paced.answered('"minute";r=0;t=2')
    await paced.pace.turn(Urgency.LOOK)
    assert paced.slept == [2.0]
    await paced.pace.turn(Urgency.LOOK)
    assert paced.slept == [2.0]


async def test_the_longest_of_the_exhausted_windows_counts() -> None:
    paced = Paced()
    paced.answered('"minute";r=0;t=2, "hour";r=0;t=1812')
    with pytest.raises(RateLimited) as refused:
        await paced.pace.turn(Urgency.ORDER)
    assert refused.value.retry_after == timedelta(seconds=1812)


async def test_headers_that_make_no_sense_hold_nobody_back() -> None:
    paced = Paced()
    for limit in ("", "none", '"minute"', '"minute";r=;t=', '"minute";r=0', "60, 30;w=60"):
        paced.answered(limit, "nonsense")
        await paced.pace.turn(Urgency.LOOK)
    assert paced.slept == []


async def test_after_a_429_only_ends_are_sent() -> None:
    async with account() as here:
        answer = problem(429, "rate limit exceeded for the minute window")
        answer.headers["Retry-After"] = "12"
        listed = here.routes.get(f"{URL}/pods").mock(return_value=answer)
        here.routes.delete(f"{URL}/pods/7h9k2m4n6p").respond(204)
        for _ in range(3):
            with pytest.raises(RateLimited) as refused:
                await here.provider.list_machines()
            assert refused.value.retry_after == timedelta(seconds=12)
        assert listed.call_count == 1
        with pytest.raises(RateLimited):
            await here.provider.launch(order())
        await here.provider.terminate("7h9k2m4n6p")
        here.clock.advance(timedelta(seconds=12))
        here.list_is(pod())
        assert len(await here.provider.list_machines()) == 1


async def test_the_limits_of_an_answer_are_kept_by_the_next_call() -> None:
    async with account() as here:
        headers = {"RateLimit": '"minute";r=5;t=40', "RateLimit-Policy": POLICY}
        listed = here.routes.get(f"{URL}/pods").respond(json={"pods": []}, headers=headers)
        await here.provider.list_machines()
        with pytest.raises(RateLimited):
            await here.provider.list_machines()
        assert listed.call_count == 1

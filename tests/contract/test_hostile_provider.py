"""What the hostile provider does when it does not behave: each fault is what its name says, once."""

from datetime import UTC, datetime, timedelta

import pytest

from stoker_deployer.providers import Alive, Gone, MachineOrder, Unknown
from stoker_shared.clock import ManualClock
from stoker_shared.errors import (
    InsufficientFunds,
    InvalidRequest,
    NoCapacity,
    ProviderError,
    RateLimited,
    UnknownOutcome,
)
from tests.simulators.hostile.cloud import Cloud
from tests.simulators.hostile.faults import LATE, SLOW, SOON, STALE
from tests.simulators.hostile.line import Fate, Killed, Line, Work
from tests.simulators.hostile.provider import HostileProvider

ORDER = MachineOrder(name="job-00000000000000aa-1", gpu_type="cpu", gpu_count=0)
_BIT = timedelta(seconds=1)


@pytest.fixture
def cloud() -> Cloud:
    """Names are not unique, as at most real ones."""
    return Cloud(ManualClock(datetime(2026, 11, 22, 12, 0, tzinfo=UTC)), names_are_unique=False)


def _pass(cloud: Cloud, by: timedelta) -> None:
    assert isinstance(cloud.clock, ManualClock)
    cloud.clock.advance(by)
    cloud.catch_up()


@pytest.mark.parametrize(
    ("fault", "error", "made", "made_later"),
    [
        ("not_done", UnknownOutcome, 0, 0),
        ("lost_answer", UnknownOutcome, 1, 1),
        ("soon", UnknownOutcome, 0, 1),
        ("late", UnknownOutcome, 0, 1),
        ("twice_lost", UnknownOutcome, 2, 2),
        ("no_capacity", NoCapacity, 0, 0),
        ("throttled", RateLimited, 0, 0),
        ("refused", InvalidRequest, 0, 0),
        ("no_funds", InsufficientFunds, 0, 0),
    ],
)
async def test_an_order_that_fails(
    cloud: Cloud, fault: str, error: type[ProviderError], made: int, made_later: int
) -> None:
    cloud.break_next("launch", fault)
    with pytest.raises(error):
        await HostileProvider(cloud).launch(ORDER)
    assert len(cloud.living()) == made
    _pass(cloud, max(SOON, LATE))
    assert len(cloud.living()) == made_later
    await HostileProvider(cloud).launch(ORDER)
    assert len(cloud.living()) == made_later + 1


async def test_an_order_that_is_carried_out_twice(cloud: Cloud) -> None:
    cloud.break_next("launch", "twice")
    told = await HostileProvider(cloud).launch(ORDER)
    assert len({machine.handle for machine in cloud.named(ORDER.name)} - {told.handle}) == 1


@pytest.mark.parametrize(("fault", "said"), [("away", Unknown), ("throttled", Unknown), ("gone_lie", Gone)])
async def test_a_look_at_a_machine_that_is_there(cloud: Cloud, fault: str, said: type) -> None:
    provider = HostileProvider(cloud)
    handle = (await provider.launch(ORDER)).handle
    cloud.break_next("describe", fault)
    assert isinstance(await provider.describe(handle), said)
    assert isinstance(await provider.describe(handle), Alive)


async def test_what_is_said_of_a_machine_may_be_old(cloud: Cloud) -> None:
    provider = HostileProvider(cloud)
    handle = (await provider.launch(ORDER)).handle
    cloud.end(handle, cloud.clock.now())
    cloud.break_next("describe", "stale")
    assert isinstance(await provider.describe(handle), Alive)
    assert isinstance(await provider.describe(handle), Gone)


async def test_a_list_may_be_old(cloud: Cloud) -> None:
    provider = HostileProvider(cloud)
    old = (await provider.launch(ORDER)).handle
    _pass(cloud, STALE + _BIT)
    cloud.end(old, cloud.clock.now())
    await provider.launch(ORDER)
    cloud.break_next("list", "stale")
    assert [type(machine.state) for machine in await provider.list_machines()] == [Alive]
    assert [type(machine.state) for machine in await provider.list_machines()] == [Gone, Alive]


@pytest.mark.parametrize(
    ("fault", "is_told", "ends_after"),
    [("away", False, None), ("lost_answer", False, timedelta(0)), ("ignored", True, None), ("slow", True, SLOW)],
)
async def test_an_end_that_is_asked_for(
    cloud: Cloud, fault: str, *, is_told: bool, ends_after: timedelta | None
) -> None:
    provider = HostileProvider(cloud)
    machine = cloud.machines[(await provider.launch(ORDER)).handle]
    cloud.break_next("terminate", fault)
    try:
        await provider.terminate(machine.handle)
        was_told = True
    except UnknownOutcome:
        was_told = False
    assert was_told == is_told
    assert machine.is_alive == (ends_after != timedelta(0))
    _pass(cloud, SLOW)
    assert machine.is_alive == (ends_after is None)


async def test_a_bill_may_be_late_and_may_differ(cloud: Cloud) -> None:
    provider = HostileProvider(cloud)
    handle = (await provider.launch(ORDER)).handle
    _pass(cloud, timedelta(hours=1))
    cloud.bill_factor_percent = None
    assert await provider.billed(handle) is None
    cloud.bill_factor_percent = 110
    assert await provider.billed(handle) == cloud.price_micro_usd_per_hour * 110 // 100


async def test_a_machine_may_come_back_from_an_exit(cloud: Cloud) -> None:
    handle = (await HostileProvider(cloud).launch(ORDER)).handle
    cloud.exit(handle, 1, cloud.clock.now())
    assert not cloud.machines[handle].is_running
    cloud.start(handle, cloud.clock.now())
    assert cloud.machines[handle].is_running


@pytest.mark.parametrize(("at", "made"), [(0, 0), (1, 1)])
async def test_a_deployer_dies_before_or_after_its_order_took_effect(cloud: Cloud, at: int, made: int) -> None:
    line = Line()
    work = Work(Fate("kill", at))

    async def order() -> None:
        await HostileProvider(cloud, line=line).launch(ORDER)

    assert await work.begin(order())
    assert work.task is not None
    assert isinstance(work.task.exception(), Killed)
    assert len(cloud.living()) == made
    with pytest.raises(Killed):
        await HostileProvider(cloud, line=line).list_machines()


@pytest.mark.parametrize(("at", "made"), [(0, 0), (1, 1)])
async def test_an_answer_that_comes_after_the_limit_is_none(cloud: Cloud, at: int, made: int) -> None:
    work = Work(Fate("stall", at))

    async def order() -> None:
        with pytest.raises(UnknownOutcome):
            await HostileProvider(cloud, line=Line()).launch(ORDER)

    assert not await work.begin(order())
    assert len(cloud.living()) == made
    _pass(cloud, timedelta(minutes=1))
    assert await work.resume()
    assert len(cloud.living()) == 1

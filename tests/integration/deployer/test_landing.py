"""Landing inside budget and duration, and a trainer that does not land."""

import asyncio
from datetime import timedelta

import pytest

from stoker_shared.job_state import EndReason, JobStatus
from stoker_shared.money import ONE_USD, cost_of
from tests.integration.deployer.world import World, eventually

S = JobStatus
# At a dollar an hour a tick of 4 s is 1,111 micro-dollars, and 3,334 are 12 s of machine time.
TICK, BUDGET = {"BUDGET_TICK": "4"}, 3_334


async def _trains(world: World, *, landing_seconds: float | None = None, **launch: object) -> str:
    job_id = (await world.launch(**launch)).job_id
    await world.machine(f"{job_id}-1")
    await world.peers.say(job_id, "training", landing_seconds=landing_seconds)
    return job_id


@pytest.mark.parametrize(
    ("limit", "why", "landed", "empty"),
    [
        ({"budget_micro_usd": ONE_USD}, "budget", EndReason.BUDGET_LANDED, EndReason.BUDGET_EXHAUSTED),
        (
            {"max_duration_seconds": 3600, "budget_micro_usd": 9 * ONE_USD},
            "duration",
            EndReason.DURATION_LANDED,
            EndReason.MAX_DURATION_REACHED,
        ),
    ],
    ids=["budget", "duration"],
)
@pytest.mark.parametrize("stores", [True, False])
async def test_a_job_lands_before_its_limit_and_ends_by_what_it_has_stored(
    world: World, limit: dict[str, int], why: str, landed: EndReason, empty: EndReason, *, stores: bool
) -> None:
    await world.start_deployer()
    # Money and time for an hour; a landing that takes 3,000 s, and half as much again to be safe, is due at once.
    job_id = await _trains(world, landing_seconds=3_000, **limit)
    started = await world.peers.until_told(job_id, "landing_started")
    (order,) = world.peers.orders[job_id, 1]
    assert (order.action, order.reason, order.deadline) == ("land", why, started.deadline)  # type: ignore[attr-defined]
    await world.peers.exit(job_id, "landed", stored=stores)
    ended = await world.peers.until_told(job_id, "completed" if stores else "failed")
    assert ended.reason == (landed if stores else empty)  # type: ignore[attr-defined]
    assert len(world.peers.orders[job_id, 1]) == 1
    await world.assert_sound(job_id, status=S.COMPLETED if stores else S.FAILED)


async def test_a_trainer_that_ignores_the_order_is_ended_within_the_budget(world: World) -> None:
    """The machine goes one tick before the money does; it never costs more than the budget and one tick."""
    await world.start_deployer(**TICK)
    job_id = await _trains(world, budget_micro_usd=BUDGET)
    await world.peers.until_told(job_id, "landing_started")
    failed = await world.peers.until_told(job_id, "failed")
    assert failed.reason == EndReason.BUDGET_EXHAUSTED  # type: ignore[attr-defined]
    assert failed.spent_micro_usd <= BUDGET + cost_of(timedelta(seconds=4), ONE_USD)
    await world.assert_sound(job_id, status=S.FAILED)


async def test_while_the_metrics_service_is_away_the_machine_is_ended_in_time_all_the_same(world: World) -> None:
    await world.start_deployer(**TICK, FAILED_CHECK_MAX="60", ACTIVE_CHECK="5")
    job_id = await _trains(world, budget_micro_usd=BUDGET)
    await world.peers.until_told(job_id, "training_started")
    await world.peers.stop_metrics()
    await world.until(job_id, S.TERMINATING)
    machine = world.simulator.machines[f"{job_id}-1"]
    await eventually(lambda: machine.ended_at is not None)
    assert machine.ended_at is not None
    assert machine.started_at is not None
    assert (machine.ended_at - machine.started_at).total_seconds() <= 12 + 4
    await world.peers.start_metrics(world.nats)
    await world.peers.until_told(job_id, "failed")
    await world.assert_sound(job_id, status=S.FAILED)


async def test_a_job_that_has_money_and_time_is_not_ordered_to_land(world: World) -> None:
    await world.start_deployer()
    job_id = await _trains(world, landing_seconds=60)
    await world.peers.until_told(job_id, "training_started")
    await asyncio.sleep(0.5)
    assert world.peers.orders[job_id, 1] == []
    await world.cancel(job_id)
    await world.peers.until_told(job_id, "cancelled")


async def test_an_order_that_got_no_answer_is_given_again(world: World) -> None:
    first = await world.start_deployer()
    world.peers.gates.close("order")
    job_id = await _trains(world, landing_seconds=3_000)
    await world.peers.gates.reached("order")
    await world.crash(first)
    await world.start_deployer()
    world.peers.gates.open("order")
    await world.peers.until_told(job_id, "landing_started")
    assert len(world.peers.orders[job_id, 1]) >= 1
    await world.peers.exit(job_id, "landed")
    await world.peers.until_told(job_id, "completed")
    await world.assert_sound(job_id, status=S.COMPLETED)

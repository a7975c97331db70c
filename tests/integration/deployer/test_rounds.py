"""Many jobs looked at together: fewer questions, and the same answers as one by one."""

import asyncio

from stoker_shared.job_state import JobStatus
from tests.integration.deployer.world import World, eventually
from tests.support.bus import until

S = JobStatus
JOBS = 8
# Each poll finds several of them due.
TOGETHER = {"POLL_INTERVAL": "1", "ACTIVE_CHECK": "1.1"}


async def _running(world: World) -> list[str]:
    jobs = [(await world.launch()).job_id for _ in range(JOBS)]
    for job_id in jobs:
        await world.until(job_id, S.STARTING)
    return jobs


async def _due_together(world: World) -> None:
    await world.query("UPDATE jobs SET next_check_at = now() WHERE lock_token IS NULL RETURNING job_id")


def _ends_with(world: World, *operations: str) -> bool:
    return tuple(call.operation for call in world.simulator.calls[-len(operations) :]) == operations


def _calls(world: World, operation: str) -> int:
    return sum(call.operation == operation for call in world.simulator.calls)


async def test_many_jobs_share_a_listing(world: World) -> None:
    await world.start_deployer(**TOGETHER)
    await _running(world)

    async def are_listed() -> bool:
        # All are due in the same polls, and nobody is asked for alone between two listings.
        await _due_together(world)
        return _ends_with(world, "list", "list", "list")

    await until(are_listed)


async def test_phases_and_ends_that_nobody_told_of_are_found_in_rounds(world: World) -> None:
    await world.start_deployer(**TOGETHER)
    jobs = await _running(world)
    for job_id in jobs:
        await world.peers.say(job_id, "training", nudges=False)
    for job_id in jobs:
        await world.until(job_id, S.TRAINING)
    for job_id in jobs:
        await world.peers.exit(job_id, "success")
    for job_id in jobs:
        await world.peers.until_told(job_id, "completed")
        await world.assert_sound(job_id, status=S.COMPLETED)


async def test_a_machine_that_the_listing_leaves_out_is_asked_for_alone(world: World) -> None:
    world.simulator.unlisted.add("*")
    await world.start_deployer(**TOGETHER)
    jobs = await _running(world)
    world.simulator.calls.clear()
    await eventually(lambda: _calls(world, "list") >= 4 and _calls(world, "describe") >= 4)
    rows = [await world.row(job_id) for job_id in jobs]
    assert {row["status"] for row in rows} == {S.STARTING}
    seen = await world.query("SELECT absent_since FROM attempts")
    assert {row["absent_since"] for row in seen} == {None}


async def test_while_the_listing_fails_nothing_is_taken_for_gone(world: World) -> None:
    await world.start_deployer(**TOGETHER)
    jobs = await _running(world)
    world.simulator.break_next("list", "server_error", times=1_000)
    world.simulator.break_next("describe", "server_error", times=1_000)
    world.simulator.calls.clear()
    await eventually(lambda: _calls(world, "list") + _calls(world, "describe") >= 6)
    assert {(await world.row(job_id))["status"] for job_id in jobs} == {S.STARTING}
    world.simulator.heal()
    for job_id in jobs:
        await world.peers.exit(job_id, "success")
    for job_id in jobs:
        await world.peers.until_told(job_id, "completed")
        await world.assert_sound(job_id, status=S.COMPLETED)


async def test_what_running_jobs_cost_is_noted_in_rounds(world: World) -> None:
    await world.start_deployer(**TOGETHER, ACCRUE_EVERY="0.5")
    jobs = await _running(world)

    accrued: set[str] = set()
    async with asyncio.timeout(60):
        while accrued != set(jobs):
            await asyncio.sleep(0.1)
            rows = await world.query("SELECT job_id FROM ledger_entries WHERE kind = 'accrue'")
            accrued = {row["job_id"] for row in rows}
    for job_id in jobs:
        await world.cancel(job_id)
    for job_id in jobs:
        await world.peers.until_told(job_id, "cancelled")
        await world.assert_sound(job_id, status=S.CANCELLED)


async def test_a_deployer_killed_in_a_round_is_replaced(world: World) -> None:
    first = await world.start_deployer(**TOGETHER)
    jobs = await _running(world)
    world.simulator.calls.clear()
    world.simulator.break_next("list", "hang")
    await eventually(lambda: any(call.outcome == "hang" for call in world.simulator.calls))
    await world.crash(first)
    await world.start_deployer(**TOGETHER)
    for job_id in jobs:
        await world.peers.exit(job_id, "success")
    for job_id in jobs:
        await world.peers.until_told(job_id, "completed")
        await world.assert_sound(job_id, status=S.COMPLETED)

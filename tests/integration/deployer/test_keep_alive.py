"""A machine that stays after a success, because the launch asked for it."""

import asyncio
from datetime import datetime

from stoker_shared.job_state import EndReason, JobStatus
from stoker_shared.money import ONE_USD
from tests.integration.deployer.world import World

S = JobStatus


async def _succeeds(world: World, **launch: object) -> str:
    job_id = (await world.launch(**launch)).job_id
    await world.machine(f"{job_id}-1")
    await world.peers.say(job_id, "training")
    await world.peers.say(job_id, "saving")
    await world.peers.exit(job_id, "success")
    return job_id


async def _until_kept(world: World, job_id: str) -> datetime:
    """When the success was noted."""
    async with asyncio.timeout(60):
        while True:
            (attempt,) = await world.query("SELECT * FROM attempts WHERE job_id = $1", job_id)
            if attempt["succeeded_at"] is not None:
                noted: datetime = attempt["succeeded_at"]
                return noted


async def test_the_machine_stays_and_is_paid_for_and_the_job_is_completed_then(world: World) -> None:
    await world.start_deployer(HEARTBEAT_TIMEOUT="0.5", SAVING_TIMEOUT="0.5")
    job_id = await _succeeds(world, keep_alive_seconds=2)
    since = await _until_kept(world, job_id)
    completed = await world.peers.until_told(job_id, "completed")
    assert completed.reason == EndReason.SUCCESS  # type: ignore[attr-defined]
    (attempt,) = await world.query("SELECT * FROM attempts WHERE job_id = $1", job_id)
    assert (attempt["terminating_since"] - since).total_seconds() >= 2
    # A dollar an hour is 277.8 micro-dollars a second.
    assert completed.spent_micro_usd >= 2 * 277
    await world.assert_sound(job_id, status=S.COMPLETED)


async def test_another_deployer_goes_on_keeping_and_a_cancel_ends_it_as_the_success_it_is(world: World) -> None:
    first = await world.start_deployer()
    job_id = await _succeeds(world, keep_alive_seconds=3600)
    since = await _until_kept(world, job_id)
    await world.crash(first)
    await world.start_deployer()
    await world.cancel(job_id)
    completed = await world.peers.until_told(job_id, "completed")
    assert completed.reason == EndReason.SUCCESS  # type: ignore[attr-defined]
    (attempt,) = await world.query("SELECT * FROM attempts WHERE job_id = $1", job_id)
    assert attempt["succeeded_at"] == since
    await world.assert_sound(job_id, status=S.COMPLETED)


async def test_a_kept_machine_is_ended_within_the_budget(world: World) -> None:
    """Metrics service and budget both give out; what is stored stays a success."""
    await world.start_deployer(BUDGET_TICK="4", FAILED_CHECK_MAX="60", ACTIVE_CHECK="5")
    budget = ONE_USD * 8 // 3600  # eight seconds of machine time
    job_id = await _succeeds(world, keep_alive_seconds=3600, budget_micro_usd=budget)
    await _until_kept(world, job_id)
    await world.peers.stop_metrics()
    await world.until(job_id, S.TERMINATING)
    await world.peers.start_metrics(world.nats)
    completed = await world.peers.until_told(job_id, "completed")
    assert completed.reason == EndReason.SUCCESS  # type: ignore[attr-defined]
    assert completed.spent_micro_usd <= budget
    await world.assert_sound(job_id, status=S.COMPLETED)

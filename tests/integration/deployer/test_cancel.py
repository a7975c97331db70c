"""A cancel is heard in each state, and the machine is gone when the job is."""

import asyncio

import pytest

from stoker_shared.identifiers import new_identifier
from stoker_shared.job_state import EndReason, JobStatus
from tests.integration.deployer.world import World, eventually, launch_command

S = JobStatus


async def _cancelled(world: World, job_id: str, *, launches: int = 1) -> None:
    told = await world.peers.until_told(job_id, "cancelled")
    assert told.reason == EndReason.CANCELLED_BY_USER  # type: ignore[attr-defined]
    await world.assert_sound(job_id, status=S.CANCELLED, launches=launches)


async def test_before_the_launch_command_arrives(world: World) -> None:
    await world.start_deployer()
    job_id = new_identifier("job")
    await world.cancel(job_id)
    await asyncio.sleep(0.3)
    await world.peers.send(launch_command(job_id=job_id))
    await _cancelled(world, job_id)
    assert world.simulator.calls == []


async def test_while_it_waits_for_a_slot(world: World) -> None:
    await world.start_deployer(MAX_ACTIVE_JOBS="1")
    first = (await world.launch()).job_id
    await world.machine(f"{first}-1")
    second = (await world.launch()).job_id
    await world.peers.until_told(second, "queued")
    await world.cancel(second)
    await _cancelled(world, second)
    assert world.simulator.launches(f"{second}-1") == []
    await world.cancel(first)
    await _cancelled(world, first)


@pytest.mark.parametrize("place", ["mint", "admit"])
async def test_while_tokens_are_minted(world: World, place: str) -> None:
    await world.start_deployer()
    world.peers.gates.close(place)
    job_id = (await world.launch()).job_id
    await world.peers.gates.reached(place)
    await world.cancel(job_id)
    await asyncio.sleep(0.2)
    world.peers.gates.open(place)
    await _cancelled(world, job_id)


@pytest.mark.parametrize("kind", ["hang", "lose_answer", "done_then_500", "server_error"])
async def test_while_the_outcome_of_the_launch_is_unknown(world: World, kind: str) -> None:
    await world.start_deployer()
    world.simulator.break_next("launch", kind)  # type: ignore[arg-type]
    world.simulator.break_next("describe", "server_error", times=5)
    job_id = (await world.launch()).job_id
    await eventually(lambda: bool(world.simulator.launches()))
    await world.cancel(job_id)
    await _cancelled(world, job_id)


@pytest.mark.parametrize("phase", ["", "preparing", "training", "saving"])
async def test_while_the_machine_is_there(world: World, phase: str) -> None:
    await world.start_deployer()
    job_id = (await world.launch()).job_id
    await world.peers.until_told(job_id, "machine_provisioned")
    if phase:
        await world.peers.say(job_id, phase)  # type: ignore[arg-type]
        await world.until(job_id, S(phase))
    await world.cancel(job_id)
    await _cancelled(world, job_id)


async def test_while_a_failed_attempt_is_being_released(world: World) -> None:
    await world.start_deployer()
    world.simulator.ignored_terminations = 1_000_000
    job_id = (await world.launch()).job_id
    await world.machine(f"{job_id}-1")
    await world.peers.exit(job_id, "terminated", code=143)
    await world.until(job_id, S.TERMINATING)
    await world.cancel(job_id)
    await asyncio.sleep(0.3)
    assert (await world.row(job_id))["status"] == S.TERMINATING
    world.simulator.ignored_terminations = 0
    await _cancelled(world, job_id)
    assert world.simulator.launches(f"{job_id}-2") == []


async def test_between_two_attempts(world: World) -> None:
    await world.start_deployer(RETRY_DELAY="60", RETRY_DELAY_MAX="60")
    job_id = (await world.launch()).job_id
    await world.machine(f"{job_id}-1")
    await world.peers.exit(job_id, "terminated", code=143)
    await world.peers.until_told(job_id, "requeued")
    await world.cancel(job_id)
    await _cancelled(world, job_id)


async def test_after_the_end_it_changes_nothing(world: World) -> None:
    await world.start_deployer()
    job_id = (await world.launch()).job_id
    await world.machine(f"{job_id}-1")
    await world.peers.exit(job_id, "success")
    await world.peers.until_told(job_id, "completed")
    await world.cancel(job_id)
    await asyncio.sleep(0.3)
    await world.assert_sound(job_id, status=S.COMPLETED)


async def test_a_machine_that_refuses_to_go_is_terminated_again_and_again(world: World) -> None:
    await world.start_deployer()
    world.simulator.ignored_terminations = 5
    world.simulator.break_next("terminate", "server_error", times=3)
    job_id = (await world.launch()).job_id
    await world.machine(f"{job_id}-1")
    await world.cancel(job_id)
    await _cancelled(world, job_id)
    assert len([call for call in world.simulator.calls if call.operation == "terminate"]) >= 9

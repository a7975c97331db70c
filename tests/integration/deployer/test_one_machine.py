"""Exactly one machine per attempt: whatever is lost, doubled, late, killed or raced."""

import asyncio

import pytest

from stoker_deployer.providers.accounts import Account
from stoker_shared.job_state import EndReason, JobStatus
from tests.integration.deployer.world import World, eventually, launch_command

S = JobStatus


async def _complete(world: World, job_id: str, *, attempt: int = 1, launches: int = 1) -> None:
    await world.until(job_id, S.STARTING)
    await world.peers.exit(job_id, "success", attempt=attempt)
    await world.peers.until_told(job_id, "completed")
    await world.assert_sound(job_id, status=S.COMPLETED, launches=launches)


@pytest.mark.parametrize("kind", ["lose_answer", "done_then_500"])
async def test_a_machine_whose_answer_was_lost_is_found_by_its_name(world: World, kind: str) -> None:
    await world.start_deployer()
    world.simulator.break_next("launch", kind)  # type: ignore[arg-type]
    job_id = (await world.launch()).job_id
    await _complete(world, job_id)
    assert len(world.simulator.machines) == 1


async def test_a_machine_that_appears_late_is_found_by_the_second_look(world: World) -> None:
    await world.start_deployer(ABSENCE_PAUSE="2")
    world.simulator.break_next("launch", "late", seconds=1.5)
    job_id = (await world.launch()).job_id
    await _complete(world, job_id)
    assert len(world.simulator.machines) == 1


@pytest.mark.parametrize("kind", ["hang", "server_error"])
async def test_a_launch_that_came_to_nothing_is_tried_once_more_after_two_looks(world: World, kind: str) -> None:
    await world.start_deployer()
    world.simulator.break_next("launch", kind)  # type: ignore[arg-type]
    job_id = (await world.launch()).job_id
    await _complete(world, job_id, launches=2)
    between = [call.operation for call in world.simulator.calls]
    assert between[: between.index("launch", 1) + 1] == ["launch", "describe", "describe", "launch"]
    assert len(world.simulator.machines) == 1


async def test_while_the_provider_cannot_be_asked_nothing_is_launched(world: World) -> None:
    await world.start_deployer()
    world.simulator.break_next("launch", "server_error")
    world.simulator.break_next("describe", "server_error", times=1_000)
    job_id = (await world.launch()).job_id
    await eventually(lambda: sum(call.operation == "describe" for call in world.simulator.calls) > 4)
    assert len(world.simulator.launches()) <= 1
    assert (await world.row(job_id))["status"] == S.PROVISIONING
    world.simulator.heal()
    await _complete(world, job_id, launches=2)


async def test_no_capacity_is_a_definite_no(world: World) -> None:
    await world.start_deployer()
    world.simulator.break_next("launch", "no_capacity")
    job_id = (await world.launch()).job_id
    requeued = await world.peers.until_told(job_id, "requeued")
    assert requeued.reason == EndReason.NO_CAPACITY  # type: ignore[attr-defined]
    await _complete(world, job_id, attempt=2)


async def test_a_key_that_is_refused_ends_the_job_at_once(world: World) -> None:
    await world.start_deployer(LOCAL_API_KEY="wrong-key")
    job_id = (await world.launch()).job_id
    failed = await world.peers.until_told(job_id, "failed")
    assert failed.reason == EndReason.PROVIDER_AUTH_FAILED  # type: ignore[attr-defined]
    await world.assert_sound(job_id, status=S.FAILED)


async def test_a_limited_rate_is_waited_for(world: World) -> None:
    await world.start_deployer()
    world.simulator.break_next("launch", "rate_limited")
    job_id = (await world.launch()).job_id
    await _complete(world, job_id, launches=2)


async def test_racing_deployers_launch_each_job_once(world: World) -> None:
    await asyncio.gather(*(world.start_deployer() for _ in range(3)))
    commands = [launch_command() for _ in range(8)]
    # Each twice, as two messages: the broker cannot see the repetition.
    for command in commands:
        await world.peers.send(command)
        await world.peers.send(command.model_copy(update={"event_id": launch_command().event_id}))
    for command in commands:
        await world.machine(f"{command.job_id}-1")
        await world.peers.exit(command.job_id, "success")
    for command in commands:
        await world.peers.until_told(command.job_id, "completed")
        await world.assert_sound(command.job_id, status=S.COMPLETED)
    assert len(world.simulator.launches()) == len(commands)


PLACES = ["mint", "admit", "report", "artifacts", "revoke"]


@pytest.mark.parametrize(
    "place", [place if place == "admit" else pytest.param(place, marks=pytest.mark.slow) for place in PLACES]
)
async def test_a_deployer_killed_while_it_waits_for_an_answer_is_replaced(world: World, place: str) -> None:
    first = await world.start_deployer()
    world.peers.gates.close(place)
    job_id = (await world.launch()).job_id
    if place in ("artifacts", "revoke"):
        await world.machine(f"{job_id}-1")
        await world.peers.exit(job_id, "success")
    await world.peers.gates.reached(place)
    await world.crash(first)
    world.peers.gates.open(place)
    await world.start_deployer()
    if place not in ("artifacts", "revoke"):
        await world.machine(f"{job_id}-1")
        await world.peers.exit(job_id, "success")
    await world.peers.until_told(job_id, "completed")
    await world.assert_sound(job_id, status=S.COMPLETED)


@pytest.mark.parametrize("kind", ["late", pytest.param("hang", marks=pytest.mark.slow)])
async def test_a_deployer_killed_in_the_middle_of_a_launch_is_replaced(world: World, kind: str) -> None:
    first = await world.start_deployer()
    # The order is carried out half a second after the deployer died, or never.
    world.simulator.break_next("launch", kind, seconds=0.5 if kind == "late" else 30)  # type: ignore[arg-type]
    job_id = (await world.launch()).job_id
    await eventually(lambda: bool(world.simulator.launches()))
    await world.crash(first)
    await world.start_deployer()
    await _complete(world, job_id, launches=1 if kind == "late" else 2)
    assert len(world.simulator.machines) == 1


@pytest.mark.parametrize("operation", ["describe", pytest.param("terminate", marks=pytest.mark.slow)])
async def test_a_deployer_killed_while_it_asks_the_provider_is_replaced(world: World, operation: str) -> None:
    first = await world.start_deployer()
    job_id = (await world.launch()).job_id
    await world.peers.until_told(job_id, "machine_provisioned")
    world.simulator.calls.clear()
    world.simulator.break_next(operation, "hang")  # type: ignore[arg-type]
    await world.peers.exit(job_id, "success")
    await eventually(lambda: any(call.outcome == "hang" for call in world.simulator.calls))
    await world.crash(first)
    await world.start_deployer()
    await world.peers.until_told(job_id, "completed")
    await world.assert_sound(job_id, status=S.COMPLETED)


async def test_two_deployers_where_one_dies_go_on_without_a_pause_for_the_other_jobs(world: World) -> None:
    first, _ = await world.start_deployer(), await world.start_deployer()
    jobs = [(await world.launch()).job_id for _ in range(4)]
    for job_id in jobs:
        await world.machine(f"{job_id}-1")
    await world.crash(first)
    for job_id in jobs:
        await world.peers.exit(job_id, "success")
    for job_id in jobs:
        await world.peers.until_told(job_id, "completed")
        await world.assert_sound(job_id, status=S.COMPLETED)


async def test_a_deployer_that_lost_its_claim_writes_nothing(world: World) -> None:
    await world.start_deployer(LEASE="60")
    world.peers.gates.close("mint")
    job_id = (await world.launch()).job_id
    await world.peers.gates.reached("mint")
    await world.until(job_id, S.PROVISIONING)
    # Somebody else has the job for the next three seconds.
    stolen = "UPDATE jobs SET lock_token = gen_random_uuid(), lock_expires_at = now() + interval '3 s' RETURNING job_id"
    await world.query(stolen)
    world.peers.gates.open("mint")
    await eventually(lambda: bool(world.simulator.machines))
    await asyncio.sleep(0.5)
    row = await world.row(job_id)
    assert (row["status"], row["sequence"]) == (S.PROVISIONING, 2)
    # Whoever takes it next finds the machine that was made in vain.
    await _complete(world, job_id)


@pytest.mark.slow
async def test_a_second_launch_that_died_is_looked_for_twice_like_the_first(world: World) -> None:
    first = await world.start_deployer(ABSENCE_PAUSE="3")
    world.simulator.break_next("launch", "server_error")
    world.simulator.break_next("launch", "late", seconds=5)
    job_id = (await world.launch()).job_id
    await eventually(lambda: len(world.simulator.launches()) == 2)
    await world.crash(first)
    # The lease of the dead one runs out before its machine appears: one look is too early.
    await world.start_deployer(ABSENCE_PAUSE="3")
    await _complete(world, job_id, launches=2)


async def test_the_sweep_leaves_living_attempts_alone(world: World) -> None:
    deployer = await world.start_deployer()
    job_id = (await world.launch()).job_id
    await world.peers.until_told(job_id, "machine_provisioned")
    assert await deployer.sweep.sweep(Account(deployer.providers.operators["local"])) == []
    await _complete(world, job_id)

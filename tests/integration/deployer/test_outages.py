"""PostgreSQL, the metrics service, the gateway or the training server away for a while: late, never wrong."""

import asyncio

from stoker.stack.standalone import RunningPostgres
from stoker_shared.job_state import JobStatus
from tests.integration.deployer.world import World, eventually

S = JobStatus


async def test_postgresql_restarts_under_running_jobs(world: World, postgres: RunningPostgres) -> None:
    await world.start_deployer()
    jobs = [(await world.launch()).job_id for _ in range(3)]
    for job_id in jobs:
        await world.machine(f"{job_id}-1")
    await asyncio.to_thread(postgres.restart)
    later = (await world.launch()).job_id
    for job_id in [*jobs, later]:
        await world.machine(f"{job_id}-1")
        await world.peers.exit(job_id, "success")
    for job_id in [*jobs, later]:
        await world.peers.until_told(job_id, "completed")
        await world.assert_sound(job_id, status=S.COMPLETED)


async def test_postgresql_dies_in_the_middle_of_a_launch(world: World, postgres: RunningPostgres) -> None:
    # Long enough for a slow machine: a deployer whose lease may run out in the call does not ask.
    await world.start_deployer(LEASE="60")
    world.peers.gates.close("mint")
    job_id = (await world.launch()).job_id
    await world.peers.gates.reached("mint")
    await world.until(job_id, S.PROVISIONING)
    await asyncio.to_thread(postgres.kill)
    world.peers.gates.open("mint")
    # The machine is asked for, but nobody can write it down.
    await eventually(lambda: bool(world.simulator.launches()))
    await asyncio.sleep(0.3)
    await asyncio.to_thread(postgres.start)
    await world.until(job_id, S.STARTING)
    await world.peers.exit(job_id, "success")
    await world.peers.until_told(job_id, "completed")
    await world.assert_sound(job_id, status=S.COMPLETED)
    assert len(world.simulator.machines) == 1


async def test_while_the_metrics_service_is_away_a_job_neither_moves_nor_fails(world: World) -> None:
    await world.start_deployer(HEARTBEAT_TIMEOUT="5")
    job_id = (await world.launch(max_attempts=1)).job_id
    await world.machine(f"{job_id}-1")
    await world.peers.say(job_id, "training")
    await world.peers.until_told(job_id, "training_started")
    await world.peers.stop_metrics()
    await asyncio.sleep(6.5)  # longer than a pod may be silent
    assert (await world.row(job_id))["status"] == S.TRAINING
    await world.peers.start_metrics(world.nats)
    await world.peers.exit(job_id, "success")
    await world.peers.until_told(job_id, "completed")
    await world.assert_sound(job_id, status=S.COMPLETED)


async def test_without_the_metrics_service_no_machine_is_asked_for(world: World) -> None:
    await world.start_deployer()
    await world.peers.stop_metrics()
    job_id = (await world.launch()).job_id
    await world.until(job_id, S.PROVISIONING)
    await asyncio.sleep(0.7)
    assert world.simulator.launches() == []
    await world.peers.start_metrics(world.nats)
    await world.until(job_id, S.STARTING)
    await world.cancel(job_id)
    await world.peers.until_told(job_id, "cancelled")
    await world.assert_sound(job_id, status=S.CANCELLED)


async def test_a_pod_that_falls_silent_is_ended(world: World) -> None:
    await world.start_deployer(HEARTBEAT_TIMEOUT="0.8")
    job_id = (await world.launch(max_attempts=1)).job_id
    await world.machine(f"{job_id}-1")
    await world.peers.say(job_id, "training")
    failed = await world.peers.until_told(job_id, "failed")
    assert failed.reason.value == "heartbeat_lost"  # type: ignore[attr-defined]
    await world.assert_sound(job_id, status=S.FAILED)


async def test_tokens_are_revoked_when_the_gateway_is_back_and_only_then_is_the_job_over(world: World) -> None:
    await world.start_deployer()
    job_id = (await world.launch()).job_id
    await world.machine(f"{job_id}-1")
    await world.peers.until_told(job_id, "machine_provisioned")
    await world.peers.stop_metrics()
    await world.cancel(job_id)
    await world.until(job_id, S.TERMINATING)
    await eventually(lambda: not world.simulator.living())
    await asyncio.sleep(0.5)
    assert (await world.row(job_id))["status"] == S.TERMINATING
    await world.peers.start_metrics(world.nats)
    await world.peers.until_told(job_id, "cancelled")
    await world.assert_sound(job_id, status=S.CANCELLED)


async def test_a_training_server_that_is_away_is_not_taken_for_a_machine_that_is_gone(world: World) -> None:
    await world.start_deployer(EXIT_REPORT_GRACE="0.2", ABSENCE_PAUSE="0.1")
    job_id = (await world.launch(max_attempts=1)).job_id
    await world.machine(f"{job_id}-1")
    await world.peers.say(job_id, "training")
    await world.peers.until_told(job_id, "training_started")
    await asyncio.to_thread(world.server.stop)
    await asyncio.sleep(1.5)
    assert (await world.row(job_id))["status"] == S.TRAINING
    await asyncio.to_thread(world.server.start)
    await world.peers.exit(job_id, "success")
    await world.peers.until_told(job_id, "completed")
    await world.assert_sound(job_id, status=S.COMPLETED)


async def test_the_broker_restarts_under_a_running_job(world: World) -> None:
    await world.start_deployer()
    job_id = (await world.launch()).job_id
    await world.machine(f"{job_id}-1")
    await asyncio.to_thread(world.nats.restart)
    await eventually(lambda: all(bus.broker.connection.is_connected for bus in world.peers._buses.values()))
    await world.peers.exit(job_id, "success")
    await world.peers.until_told(job_id, "completed")
    await world.assert_sound(job_id, status=S.COMPLETED)

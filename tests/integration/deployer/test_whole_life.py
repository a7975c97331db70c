"""From the launch command to the end, and back for another attempt."""

import asyncio
import json

import pytest

from stoker_shared.job_state import EndReason, JobStatus
from stoker_shared.money import ONE_USD
from stoker_shared.tokens import token_hash
from tests.integration.deployer.peers import GONE_DATASET
from tests.integration.deployer.world import World, eventually, launch_command

S = JobStatus


async def _train(world: World, job_id: str, *, attempt: int = 1) -> None:
    await world.machine(f"{job_id}-{attempt}")
    for phase, fact in (
        ("preparing", "preparation_started"),
        ("training", "training_started"),
        ("saving", "saving_started"),
    ):
        await world.peers.say(job_id, phase, attempt=attempt)  # type: ignore[arg-type]
        await world.peers.until_told(job_id, fact, times=1)


async def test_a_job_is_launched_followed_and_completed(world: World) -> None:
    await world.start_deployer()
    job_id = (await world.launch()).job_id
    await _train(world, job_id)
    await world.peers.exit(job_id, "success")
    await world.peers.until_told(job_id, "completed")
    await world.assert_sound(job_id, status=S.COMPLETED)
    assert world.peers.statuses_of(job_id) == [
        "queued", "provisioning", "starting", "preparing", "training", "saving", "terminating", "completed",
    ]  # fmt: skip


async def test_the_pod_gets_its_environment_and_its_token_opens_both_services(world: World) -> None:
    await world.start_deployer()
    job_id = (await world.launch(environment={"HF_TOKEN": "theirs"})).job_id
    await world.machine(f"{job_id}-1")
    seen = world.simulator.orders[f"{job_id}-1"].env
    assert seen["JOB_ID"] == job_id
    assert seen["HF_TOKEN"] == "theirs"
    assert json.loads(seen["TRAINING_CONFIG"])["data"]["format"] == "messages"
    minted = world.peers.tokens[job_id, 1]
    assert minted["gateway"] == minted["metrics"] == {token_hash(seen["JOB_TOKEN"])}
    stored = await world.query("SELECT jobs::text AS j, attempts::text AS a FROM jobs JOIN attempts USING (job_id)")
    told = await world.query("SELECT payload::text AS p FROM outbox")
    assert seen["JOB_TOKEN"] not in repr(stored) + repr(told)
    await world.cancel(job_id)
    await world.peers.until_told(job_id, "cancelled")


async def test_a_repeated_launch_command_is_the_same_job(world: World) -> None:
    await world.start_deployer()
    command = await world.launch()
    await world.machine(f"{command.job_id}-1")
    again = command.model_copy(update={"event_id": launch_command().event_id})  # the broker cannot see the repetition
    await world.peers.send(again)
    await world.peers.exit(command.job_id, "success")
    await world.peers.until_told(command.job_id, "completed")
    await world.peers.send(again.model_copy(update={"event_id": launch_command().event_id}))
    await asyncio.sleep(0.3)
    await world.assert_sound(command.job_id, status=S.COMPLETED)


async def test_phases_are_found_without_any_event(world: World) -> None:
    await world.start_deployer()
    job_id = (await world.launch()).job_id
    await world.machine(f"{job_id}-1")
    await world.peers.say(job_id, "training", nudges=False)
    await world.peers.until_told(job_id, "training_started")


async def test_an_attempt_that_fails_for_a_passing_reason_is_tried_again(world: World) -> None:
    await world.start_deployer()
    job_id = (await world.launch()).job_id
    await world.machine(f"{job_id}-1")
    await world.peers.say(job_id, "training")
    await world.peers.until_told(job_id, "training_started")
    world.simulator.move(f"{job_id}-1", "exited", exit_code=137)
    requeued = await world.peers.until_told(job_id, "requeued")
    assert requeued.reason == EndReason.TRAINER_DIED  # type: ignore[attr-defined]
    await world.machine(f"{job_id}-2")
    await world.peers.exit(job_id, "success", attempt=2)
    completed = await world.peers.until_told(job_id, "completed")
    assert completed.attempt == 2
    await world.assert_sound(job_id, status=S.COMPLETED)


async def test_a_machine_that_vanishes_is_lost_and_costs_nothing_after_that(world: World) -> None:
    await world.start_deployer()
    job_id = (await world.launch(max_attempts=1)).job_id
    await world.machine(f"{job_id}-1")
    await world.peers.until_told(job_id, "machine_provisioned")
    world.simulator.machines.clear()
    failed = await world.peers.until_told(job_id, "failed")
    assert failed.reason == EndReason.MACHINE_LOST  # type: ignore[attr-defined]
    await world.assert_sound(job_id, status=S.FAILED)


@pytest.mark.parametrize(
    ("said", "reason", "status"),
    [
        ("dataset_unreadable", EndReason.DATASET_UNREADABLE, S.FAILED),
        ("non_finite_loss", EndReason.NON_FINITE_LOSS, S.FAILED),
        ("a new word", EndReason.TRAINER_ERROR, S.FAILED),
    ],
)
async def test_what_the_pod_said_is_the_reason(world: World, said: str, reason: EndReason, status: JobStatus) -> None:
    await world.start_deployer()
    job_id = (await world.launch()).job_id
    await world.machine(f"{job_id}-1")
    await world.peers.exit(job_id, said, code=1)
    ended = await world.peers.until_told(job_id, status.value)
    assert (ended.reason, ended.detail) == (reason, f"the pod said {said}")  # type: ignore[attr-defined]
    await world.assert_sound(job_id, status=status)


async def test_a_success_without_a_model_is_none(world: World) -> None:
    await world.start_deployer()
    job_id = (await world.launch(max_attempts=1)).job_id
    await world.machine(f"{job_id}-1")
    await world.peers.exit(job_id, "success", stored=False)
    failed = await world.peers.until_told(job_id, "failed")
    assert failed.reason == EndReason.ARTIFACTS_MISSING  # type: ignore[attr-defined]
    await world.assert_sound(job_id, status=S.FAILED)


async def test_a_budget_that_covers_no_machine_fails_with_the_numbers(world: World) -> None:
    await world.start_deployer()
    job_id = (await world.launch(budget_micro_usd=100)).job_id
    failed = await world.peers.until_told(job_id, "failed")
    assert failed.reason == EndReason.BUDGET_NOT_COVERED  # type: ignore[attr-defined]
    assert "attempt 1 needs at least $0.0028" in failed.detail  # type: ignore[attr-defined]
    assert world.simulator.calls == []
    await world.assert_sound(job_id, status=S.FAILED)


async def test_a_machine_queued_at_the_provider_costs_nothing(world: World) -> None:
    await world.start_deployer()
    world.simulator.starts_as = "queued"
    job_id = (await world.launch()).job_id
    await world.peers.until_told(job_id, "machine_provisioned")
    await asyncio.sleep(0.5)
    await world.cancel(job_id)
    cancelled = await world.peers.until_told(job_id, "cancelled")
    assert cancelled.spent_micro_usd == 0
    await world.assert_sound(job_id, status=S.CANCELLED)


async def test_what_is_told_of_money_adds_up(world: World) -> None:
    await world.start_deployer()
    job_id = (await world.launch()).job_id
    machine = await world.machine(f"{job_id}-1")
    await world.peers.say(job_id, "training")
    training = await world.peers.until_told(job_id, "training_started")
    assert training.billing_started_at is not None
    assert abs((training.billing_started_at - machine.started_at).total_seconds()) < 0.01  # type: ignore[operator]
    assert (training.spent_micro_usd, training.price_micro_usd_per_hour) == (0, ONE_USD)
    await asyncio.sleep(0.5)
    await world.peers.exit(job_id, "success")
    completed = await world.peers.until_told(job_id, "completed")
    ran = machine.ended_at - machine.started_at  # type: ignore[operator]
    assert completed.billing_started_at is None
    assert abs(completed.spent_micro_usd - ran.total_seconds() * ONE_USD / 3600) <= 1
    await world.assert_sound(job_id, status=S.COMPLETED)


async def test_a_dataset_that_is_gone_ends_the_job_without_a_machine(world: World) -> None:
    await world.start_deployer()
    job_id = (await world.launch(dataset_version_id=GONE_DATASET)).job_id
    failed = await world.peers.until_told(job_id, "failed")
    assert failed.reason == EndReason.DATASET_UNREADABLE  # type: ignore[attr-defined]
    assert world.simulator.launches() == []
    await world.assert_sound(job_id, status=S.FAILED)


async def test_a_variable_of_ours_cannot_be_overridden(world: World) -> None:
    await world.start_deployer()
    job_id = (await world.launch(environment={"JOB_TOKEN": "mine"})).job_id
    failed = await world.peers.until_told(job_id, "failed")
    assert "JOB_TOKEN" in failed.detail  # type: ignore[attr-defined]
    assert world.simulator.calls == []


async def test_more_jobs_than_slots_take_their_turn(world: World) -> None:
    await world.start_deployer(MAX_ACTIVE_JOBS="2")
    jobs = [(await world.launch()).job_id for _ in range(5)]
    most = 0
    for _ in jobs:
        await eventually(lambda: bool(world.simulator.living()))
        living = world.simulator.living()
        most = max(most, len(living))
        await world.peers.exit(living[0].name[:-2], "success")
        await world.peers.until_told(living[0].name[:-2], "completed")
    assert most <= 2
    for job_id in jobs:
        await world.assert_sound(job_id, status=S.COMPLETED)

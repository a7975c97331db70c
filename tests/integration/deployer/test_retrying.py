"""Another attempt: where it runs, with which batch, and when it is enough. Replicas share what they learn of offers."""

import itertools
import json
from datetime import timedelta
from typing import Any

import pytest

from stoker_shared.commands import PlannedOffer
from stoker_shared.events import JobFailed, JobRequeued, ProvisioningStarted
from stoker_shared.job_state import EndReason, JobStatus
from stoker_shared.money import ONE_USD
from stoker_shared.recipe import Batch, ModelChoice, Recipe
from stoker_shared.tokens import token_hash
from tests.integration.deployer.world import World, eventually

S = JobStatus
GIB = 2**30


def offer(gpu_type: str, *, vram_gib: int | None = None, price: int = ONE_USD) -> PlannedOffer:
    vram_bytes = vram_gib * GIB if vram_gib else None
    return PlannedOffer(
        provider="local", gpu_type=gpu_type, gpu_count=0, price_micro_usd_per_hour=price, vram_bytes=vram_bytes
    )


BIG, SMALL = offer("big", vram_gib=80), offer("small", vram_gib=40)
BATCH_OF_FOUR = Recipe(model=ModelChoice(name_or_path="tiny"), batch=Batch(per_device=4))


async def _begun(world: World, job_id: str, *, attempt: int) -> ProvisioningStarted:
    told = await world.peers.until_told(job_id, "provisioning_started", times=attempt)
    assert isinstance(told, ProvisioningStarted)
    return told


async def _environment(world: World, name: str) -> dict[str, str]:
    await world.machine(name)
    return world.simulator.orders[name].env


async def _complete(world: World, job_id: str, *, attempt: int) -> None:
    await world.machine(f"{job_id}-{attempt}")
    await world.peers.exit(job_id, "success", attempt=attempt)
    await world.peers.until_told(job_id, "completed")
    await world.assert_sound(job_id, status=S.COMPLETED)


async def _die(world: World, job_id: str, *, attempt: int) -> None:
    await world.machine(f"{job_id}-{attempt}")
    await world.peers.say(job_id, "training", attempt=attempt)
    await world.peers.until_told(job_id, "training_started", times=attempt)
    world.simulator.move(f"{job_id}-{attempt}", "exited", exit_code=137)


async def test_without_capacity_the_next_offer_is_taken_and_other_replicas_know(world: World) -> None:
    await world.start_deployer(CAPACITY_COOLDOWN="600", CAPACITY_COOLDOWN_MAX="600")
    world.simulator.break_next("launch", "no_capacity")
    first = (await world.launch(offers=[BIG, SMALL], max_attempts=1)).job_id
    assert [(await _begun(world, first, attempt=number)).gpu_type for number in (1, 2)] == ["big", "small"]
    await _complete(world, first, attempt=2)

    await world.crash(world.deployers[0])
    await world.start_deployer(CAPACITY_COOLDOWN="600", CAPACITY_COOLDOWN_MAX="600")
    second = (await world.launch(offers=[BIG, SMALL])).job_id
    assert (await _begun(world, second, attempt=1)).gpu_type == "small"
    await _complete(world, second, attempt=1)


async def test_an_attempt_that_follows_a_refusal_at_once_gets_a_token_of_its_own(world: World) -> None:
    await world.start_deployer()
    world.simulator.break_next("launch", "no_capacity")
    job_id = (await world.launch(offers=[BIG, SMALL])).job_id
    token = (await _environment(world, f"{job_id}-2"))["JOB_TOKEN"]
    admitted = world.peers.tokens[job_id, 2]
    assert [token_hash(token) in admitted[service] for service in ("gateway", "metrics")] == [True, True]
    await _complete(world, job_id, attempt=2)


async def test_while_the_only_offer_cools_the_job_waits_and_spends_no_attempt(world: World) -> None:
    await world.start_deployer()
    world.simulator.break_next("launch", "no_capacity", times=3)
    job_id = (await world.launch(max_attempts=1)).job_id
    await world.machine(f"{job_id}-4")
    cooled = await world.query("SELECT refused_at AS at FROM attempts WHERE number < 4 ORDER BY number")
    begun = await world.query("SELECT intent_at AS at FROM attempts WHERE number > 1 ORDER BY number")
    pauses = [later["at"] - before["at"] for before, later in zip(cooled, begun, strict=True)]
    assert [pause >= timedelta(seconds=0.2) * 2**number for number, pause in enumerate(pauses)] == [True] * 3, pauses
    await world.peers.until_told(job_id, "machine_provisioned")
    assert await world.query("SELECT * FROM offer_cooldowns") == []
    await _complete(world, job_id, attempt=4)


async def test_after_a_cool_down_one_job_tries_for_all(world: World) -> None:
    for _ in range(2):
        await world.start_deployer(CAPACITY_PROBE="60")
    world.simulator.break_next("launch", "no_capacity", times=1000)
    first = (await world.launch()).job_id
    await world.peers.until_told(first, "requeued")
    jobs = [first, *[(await world.launch()).job_id for _ in range(3)]]
    await eventually(lambda: len(world.simulator.launches()) >= 3, seconds=150)
    world.simulator.heal()
    for job_id in jobs:
        await world.peers.until_told(job_id, "machine_provisioned")
    refused = [call for call in world.simulator.calls if call.outcome == "no_capacity"]
    requeued = [event for event in world.peers.events if event.type == "requeued"]
    assert len({event.event_id for event in requeued}) == len(refused)
    gaps = [later.at - before.at for before, later in itertools.pairwise(refused)]
    assert all(gap >= timedelta(seconds=0.19) for gap in gaps), gaps
    for job_id in jobs:
        attempt = (await world.row(job_id))["attempt"]
        await _complete(world, job_id, attempt=attempt)


async def test_a_cancel_is_heard_while_all_offers_cool(world: World) -> None:
    await world.start_deployer(CAPACITY_COOLDOWN="600", CAPACITY_COOLDOWN_MAX="600")
    world.simulator.break_next("launch", "no_capacity")
    job_id = (await world.launch()).job_id
    await world.peers.until_told(job_id, "requeued")
    await world.cancel(job_id)
    await world.peers.until_told(job_id, "cancelled")
    await world.assert_sound(job_id, status=S.CANCELLED)


async def test_a_job_that_cools_stands_in_nobodys_way(world: World) -> None:
    await world.start_deployer(MAX_ACTIVE_JOBS="1", CAPACITY_COOLDOWN="600", CAPACITY_COOLDOWN_MAX="600")
    world.simulator.break_next("launch", "no_capacity")
    waits = (await world.launch(offers=[BIG])).job_id
    await world.peers.until_told(waits, "requeued")
    goes = (await world.launch(offers=[SMALL])).job_id
    await _complete(world, goes, attempt=1)
    await world.cancel(waits)
    await world.peers.until_told(waits, "cancelled")


async def test_the_breaker_stops_a_job_whose_machines_all_die_alike(world: World) -> None:
    await world.start_deployer()
    job_id = (await world.launch(max_attempts=10, offers=[BIG, SMALL])).job_id
    for attempt in (1, 2, 3):
        await _die(world, job_id, attempt=attempt)
    failed = await world.peers.until_told(job_id, "failed")
    assert isinstance(failed, JobFailed)
    assert failed.reason == EndReason.TRAINER_DIED
    assert failed.detail.endswith(
        "Stopped by the breaker: 3 attempts in a row ended with trainer_died: "
        "1 (local big), 2 (local small), 3 (local big)."
    )
    await world.assert_sound(job_id, status=S.FAILED)


async def test_failed_attempts_may_not_eat_the_budget(world: World) -> None:
    await world.start_deployer(BREAKER_SPEND_SHARE="0.000001")
    job_id = (await world.launch(max_attempts=10, offers=[BIG, SMALL])).job_id
    await _die(world, job_id, attempt=1)
    failed = await world.peers.until_told(job_id, "failed")
    assert isinstance(failed, JobFailed)
    assert (failed.attempt, failed.reason) == (1, EndReason.TRAINER_DIED)
    assert "Stopped by the breaker: 1 failed attempts have cost $0.0" in failed.detail
    await world.assert_sound(job_id, status=S.FAILED)


@pytest.mark.parametrize(
    ("said", "resumes"),
    [("terminated", "true"), ("trainer_error", "false")],
)
async def test_the_next_pod_is_told_whether_it_may_go_on_from_a_checkpoint(
    world: World, said: str, resumes: str
) -> None:
    await world.start_deployer()
    job_id = (await world.launch(offers=[BIG, SMALL])).job_id
    assert (await _environment(world, f"{job_id}-1"))["RESUME_CHECKPOINTS"] == "true"
    await world.peers.exit(job_id, said, code=1)
    assert (await _environment(world, f"{job_id}-2"))["RESUME_CHECKPOINTS"] == resumes
    assert (await _begun(world, job_id, attempt=2)).may_resume == (resumes == "true")
    await _complete(world, job_id, attempt=2)


async def test_an_error_of_the_trainer_is_tried_once_on_another_offer(world: World) -> None:
    await world.start_deployer()
    job_id = (await world.launch(offers=[BIG, SMALL], max_attempts=9)).job_id
    for attempt in (1, 2):
        await world.machine(f"{job_id}-{attempt}")
        await world.peers.exit(job_id, "trainer_error", code=1, attempt=attempt)
    failed = await world.peers.until_told(job_id, "failed")
    assert (failed.attempt, (await _begun(world, job_id, attempt=2)).gpu_type) == (2, "small")
    await world.assert_sound(job_id, status=S.FAILED)


async def test_on_a_smaller_gpu_the_batch_is_refitted(world: World) -> None:
    await world.start_deployer()
    job_id = (await world.launch(offers=[BIG, SMALL], recipe=BATCH_OF_FOUR)).job_id
    assert await _batch(world, job_id, attempt=1) == (4, 1)
    await _die(world, job_id, attempt=1)
    assert await _batch(world, job_id, attempt=2) == (2, 2)
    await _complete(world, job_id, attempt=2)


async def test_out_of_memory_is_tried_again_with_half_the_rows_and_no_smaller_gpu(world: World) -> None:
    await world.start_deployer()
    job_id = (await world.launch(offers=[BIG, SMALL], recipe=BATCH_OF_FOUR)).job_id
    await world.machine(f"{job_id}-1")
    await world.peers.exit(job_id, "out_of_memory", code=1)
    requeued = await world.peers.until_told(job_id, "requeued")
    assert isinstance(requeued, JobRequeued)
    assert requeued.reason == EndReason.OUT_OF_MEMORY
    assert await _batch(world, job_id, attempt=2) == (2, 2)
    assert (await _begun(world, job_id, attempt=2)).gpu_type == "big"
    await _complete(world, job_id, attempt=2)


async def _batch(world: World, job_id: str, *, attempt: int) -> tuple[int, int]:
    """The batch as row, event and pod have it."""
    told = await _begun(world, job_id, attempt=attempt)
    config: dict[str, Any] = json.loads((await _environment(world, f"{job_id}-{attempt}"))["TRAINING_CONFIG"])
    [row] = await world.query("SELECT per_device, accumulation FROM attempts WHERE number = $1", attempt)
    seen = (config["batch"]["per_device"], config["batch"]["gradient_accumulation"])
    assert (told.per_device, told.accumulation) == (row["per_device"], row["accumulation"]) == seen
    return seen


async def test_a_checkpoint_is_no_model(world: World) -> None:
    await world.start_deployer()
    job_id = (await world.launch(max_attempts=1)).job_id
    await world.machine(f"{job_id}-1")
    world.peers.artifacts[job_id, 1].append("checkpoints/4/complete.json")
    await world.peers.exit(job_id, "success", stored=False)
    failed = await world.peers.until_told(job_id, "failed")
    assert isinstance(failed, JobFailed)
    assert failed.reason == EndReason.ARTIFACTS_MISSING


async def test_the_gateway_is_told_whether_the_job_goes_on(world: World) -> None:
    await world.start_deployer(RETRY_DELAY="600", RETRY_DELAY_MAX="600")
    job_id = (await world.launch()).job_id
    await _die(world, job_id, attempt=1)
    await world.peers.until_told(job_id, "requeued")
    assert world.peers.awaits_next[job_id] is True
    await world.cancel(job_id)
    await world.peers.until_told(job_id, "cancelled")
    assert world.peers.awaits_next[job_id] is False


async def test_a_machine_that_cannot_be_prepared_gives_way_to_another_three_times_in_all(world: World) -> None:
    await world.start_deployer()
    job_id = (await world.launch(max_attempts=10, offers=[BIG, SMALL])).job_id
    taken = []
    for attempt in (1, 2, 3):
        taken.append((await _begun(world, job_id, attempt=attempt)).gpu_type)
        await world.machine(f"{job_id}-{attempt}")
        await world.peers.exit(job_id, "pod_setup_failed", code=1, attempt=attempt)
    failed = await world.peers.until_told(job_id, "failed")
    assert taken[:2] == ["big", "small"]
    assert (failed.attempt, failed.reason) == (3, EndReason.POD_SETUP_FAILED)  # type: ignore[attr-defined]
    assert "the pod said pod_setup_failed" in failed.detail  # type: ignore[attr-defined]
    await world.assert_sound(job_id, status=S.FAILED)

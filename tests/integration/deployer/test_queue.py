"""The queue on real rows and real deployers: limits hold while replicas race, nobody is starved, and it can be seen."""

import asyncio
from datetime import timedelta

import pytest

from stoker_shared.job_state import MACHINE_STATUSES, JobStatus
from stoker_shared.rpc.deployer import QUEUE, QueuePlaces, QueueQuery
from tests.integration.deployer.world import World, eventually

S = JobStatus
ANNA, BEN = "user-00000000000000aa", "user-00000000000000bb"
ACTIVE = ", ".join(f"'{status.value}'" for status in MACHINE_STATUSES)


async def _places(world: World, owner: str, job_id: str | None = None) -> QueuePlaces:
    answer: QueuePlaces = await world.peers.ask(QUEUE, QueueQuery(owner=owner, job_id=job_id))
    return answer


async def _until_reason(world: World, job_id: str, wanted: str, owner: str = ANNA) -> None:
    async with asyncio.timeout(60):
        while True:
            told = await _places(world, owner, job_id)
            if [place.reason for place in told.places] == [wanted]:
                return
            await asyncio.sleep(0.05)


async def _end(world: World, name: str) -> None:
    job_id, attempt = name.rsplit("-", 1)
    await world.peers.exit(job_id, "success", attempt=int(attempt))
    await world.until(job_id, S.COMPLETED)


async def test_a_late_job_of_another_user_does_not_wait_for_a_hundred(world: World) -> None:
    # The pause is long, so whoever comes next was woken for it.
    await world.start_deployer(MAX_ACTIVE_JOBS="1", QUEUED_CHECK="600")
    hundred = [(await world.launch(owner=ANNA)).job_id for _ in range(100)]
    await eventually(lambda: bool(world.simulator.living()))
    first = world.simulator.living()[0].name
    late = (await world.launch(owner=BEN)).job_id
    await _until_reason(world, late, "all 1 slots are taken", owner=BEN)
    (place,) = (await _places(world, BEN)).places
    assert (place.position, place.ahead) == (1, 0)
    await _end(world, first)
    await world.machine(f"{late}-1")
    assert len(world.simulator.machines) == 2
    assert {job_id for job_id in hundred if f"{job_id}-1" in world.simulator.machines} == {first[:-2]}


async def test_a_higher_priority_begins_first(world: World) -> None:
    await world.start_deployer(MAX_ACTIVE_JOBS="1", QUEUED_CHECK="600")
    running = (await world.launch()).job_id
    await world.machine(f"{running}-1")
    usual = (await world.launch()).job_id
    await _until_reason(world, usual, "all 1 slots are taken")
    urgent = (await world.launch(priority=5)).job_id
    await _until_reason(world, urgent, "all 1 slots are taken")
    assert [place.job_id for place in (await _places(world, ANNA)).places] == [urgent, usual]
    await _end(world, f"{running}-1")
    await world.machine(f"{urgent}-1")
    assert (await world.row(usual))["status"] == S.QUEUED


@pytest.mark.parametrize(
    ("settings", "same", "reason"),
    [
        ({"MAX_ACTIVE_PER_USER": "1"}, {}, "user limit 1"),
        ({"MAX_ACTIVE_PER_PROJECT": "1"}, {"project": "default"}, "limit 1 of project default"),
        ({"MAX_ACTIVE_PER_PROVIDER": '{"local": 1}'}, {}, "provider local is full (limit 1)"),
    ],
)
async def test_each_limit_is_kept_and_told(
    world: World, settings: dict[str, str], same: dict[str, str], reason: str
) -> None:
    await world.start_deployer(**settings, QUEUED_CHECK="600")
    first = (await world.launch(**same)).job_id
    await world.machine(f"{first}-1")
    second = (await world.launch(**same)).job_id
    await _until_reason(world, second, reason)
    await _end(world, f"{first}-1")
    await world.machine(f"{second}-1")


async def test_limits_of_a_user_leave_the_others_alone(world: World) -> None:
    await world.start_deployer(MAX_ACTIVE_PER_USER="1")
    both = [(await world.launch(owner=ANNA)).job_id for _ in range(2)]
    other = (await world.launch(owner=BEN)).job_id
    await world.machine(f"{other}-1")
    await eventually(lambda: len(world.simulator.living()) == 2)
    (waiting,) = [job_id for job_id in both if f"{job_id}-1" not in world.simulator.machines]
    await _until_reason(world, waiting, "user limit 1")
    assert len(world.simulator.living()) == 2


async def test_replicas_that_race_for_slots_never_pass_a_limit(world: World) -> None:
    limits = {"MAX_ACTIVE_JOBS": "3", "MAX_ACTIVE_PER_USER": "2", "QUEUED_CHECK": "0.05"}
    for _ in range(2):
        await world.start_deployer(**limits)
    jobs = [(await world.launch(owner=owner)).job_id for _ in range(6) for owner in (ANNA, BEN)]
    most, done = 0, set()
    async with asyncio.timeout(120):
        while len(done) < len(jobs):
            rows = await world.query(
                f"SELECT owner, count(*) AS jobs FROM jobs WHERE status IN ({ACTIVE}) GROUP BY owner"
            )
            counts = {row["owner"]: row["jobs"] for row in rows}
            assert sum(counts.values()) <= 3, counts
            assert max(counts.values(), default=0) <= 2, counts
            most = max(most, sum(counts.values()))
            for machine in world.simulator.living():
                if machine.name not in done:
                    done.add(machine.name)
                    await world.peers.exit(machine.name[:-2], "success")
            await asyncio.sleep(0.02)
    assert most == 3
    for job_id in jobs:
        await world.until(job_id, S.COMPLETED)
        await world.assert_sound(job_id, status=S.COMPLETED)


async def test_waiting_for_the_next_attempt_is_told_and_takes_no_slot(world: World) -> None:
    await world.start_deployer(MAX_ACTIVE_JOBS="1", RETRY_DELAY="600", RETRY_DELAY_MAX="600")
    failing = (await world.launch()).job_id
    await world.machine(f"{failing}-1")
    waiting = (await world.launch()).job_id
    await world.peers.exit(failing, "terminated", code=1)
    await world.peers.until_told(failing, "requeued")
    await world.machine(f"{waiting}-1")
    (place,) = (await _places(world, ANNA)).places
    row = await world.row(failing)
    assert place.job_id == failing
    assert place.reason == f"next attempt at {row['next_attempt_at'].isoformat(timespec='seconds')}"
    assert row["next_attempt_at"] - row["created_at"] > timedelta(minutes=5)


async def test_jobs_of_other_owners_are_not_told(world: World) -> None:
    await world.start_deployer(MAX_ACTIVE_JOBS="1")
    job_id = (await world.launch(owner=ANNA)).job_id
    await world.machine(f"{job_id}-1")
    second = (await world.launch(owner=ANNA)).job_id
    await _until_reason(world, second, "all 1 slots are taken")
    told = await _places(world, BEN)
    assert (told.waiting, told.places) == (1, [])
    assert (await _places(world, BEN, second)).places == []
    assert (await _places(world, ANNA, job_id)).places == []

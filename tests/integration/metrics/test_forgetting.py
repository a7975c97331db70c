"""What notifications know of jobs, and their log: forgotten when it cannot be needed any more, and not before."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import pytest

from stoker_metrics.retention import service
from stoker_metrics.retention.service import JOB_NEEDED_FOR, Retention, RetentionRules
from stoker_shared.events import JobEvent, JobFailed, OrphanCostBooked, TrainingStarted
from stoker_shared.job_state import EndReason, JobStatus
from stoker_shared.topology import stream
from tests.support.notifications import JOB, OWNER, job_event, queued
from tests.support.servers import TestDatabase
from tests.support.telling import AT, TellingWorld, telling_world

OVER = "job-00000000000000bb"
REASON = next(iter(EndReason))
DAY = timedelta(days=1)


def retention_of(world: TellingWorld, *, deliveries: timedelta = 30 * DAY) -> Retention:
    return Retention(world.database, clock=world.clock, rules=RetentionRules(deliveries=deliveries))


async def jobs(world: TellingWorld) -> list[str]:
    return [row["job_id"] for row in await world.rows("SELECT job_id FROM notification_jobs ORDER BY job_id")]


async def one_over_and_one_going_on(world: TellingWorld) -> None:
    await world.take(queued(occurred_at=AT), queued(job_id=OVER, occurred_at=AT))
    await world.take(job_event(JobFailed, 9, JobStatus.FAILED, reason=REASON, job_id=OVER, occurred_at=AT))


def orphan(*, at: datetime) -> JobEvent:
    told = {"machine": "m", "of_attempt": 1, "cost_micro_usd": 1}
    return job_event(OrphanCostBooked, 10, JobStatus.FAILED, job_id=OVER, occurred_at=at, **told)


async def test_a_job_that_is_over_goes_when_the_broker_has_nothing_of_it_any_more(
    metrics_database: TestDatabase,
) -> None:
    assert stream("EVENTS").max_age < JOB_NEEDED_FOR
    async with telling_world(metrics_database) as world:
        await one_over_and_one_going_on(world)
        world.clock.advance(JOB_NEEDED_FOR)
        await retention_of(world).sweep()
        assert await jobs(world) == [JOB, OVER]
        world.clock.advance(timedelta(seconds=1))
        await retention_of(world).sweep()
        assert await jobs(world) == [JOB]
        world.clock.advance(1000 * DAY)
        await retention_of(world).sweep()
        assert await jobs(world) == [JOB]


@pytest.mark.parametrize("kind", ["job", "pod"])
async def test_whatever_is_heard_of_a_job_keeps_it_from_then_on(metrics_database: TestDatabase, kind: str) -> None:
    async with telling_world(metrics_database) as world:
        await one_over_and_one_going_on(world)
        world.clock.advance(20 * DAY)
        # It happened long ago; the broker has had it since a moment that nobody here knows.
        await world.take(orphan(at=AT) if kind == "job" else world.alert(job_id=OVER, at=AT))
        world.clock.advance(JOB_NEEDED_FOR)
        await retention_of(world).sweep()
        assert OVER in await jobs(world)
        world.clock.advance(timedelta(seconds=1))
        await retention_of(world).sweep()
        assert OVER not in await jobs(world)


async def test_news_of_a_forgotten_job_are_told_and_forgotten_again(
    metrics_database: TestDatabase,
) -> None:
    async with telling_world(metrics_database) as world:
        await world.target(1, "job.orphan_found")
        await world.rows("INSERT INTO attempt_reports (job_id, attempt, owner) VALUES ($1, 1, $2)", OVER, OWNER)
        await one_over_and_one_going_on(world)
        world.clock.advance(JOB_NEEDED_FOR + DAY)
        await retention_of(world).sweep()
        await world.take(orphan(at=world.clock.now()))
        assert types(await world.log(job_id=OVER, state="waiting")) == ["job.orphan_found"]
        world.clock.advance(JOB_NEEDED_FOR + DAY)
        await retention_of(world).sweep()
        assert OVER not in await jobs(world)


async def finish_all(world: TellingWorld) -> None:
    await world.rows(
        "UPDATE notification_deliveries SET state = 'delivered', finished_at = $1 WHERE state = 'waiting'",
        world.clock.now(),
    )


def types(rows: Sequence[object]) -> list[str]:
    return [row["type"] for row in rows]  # type: ignore[index]


async def test_finished_deliveries_go_after_their_time_and_those_that_wait_stay(
    metrics_database: TestDatabase,
) -> None:
    async with telling_world(metrics_database) as world:
        await world.target(1, "job.failed", "job.alert")
        await one_over_and_one_going_on(world)
        await finish_all(world)
        await world.take(world.alert(job_id=OVER))
        world.clock.advance(10 * DAY)
        await retention_of(world, deliveries=10 * DAY).sweep()
        assert types(await world.log()) == ["job.failed", "job.alert"]
        world.clock.advance(timedelta(seconds=1))
        await retention_of(world, deliveries=10 * DAY).sweep()
        assert types(await world.log()) == ["job.alert"]


async def test_what_waits_for_a_paused_target_is_given_up_after_its_time_and_forgotten_later(
    metrics_database: TestDatabase,
) -> None:
    async with telling_world(metrics_database) as world:
        paused = await world.target(1, "job.failed")
        active = await world.target(2, "job.failed")
        await one_over_and_one_going_on(world)
        await world.rows("UPDATE notification_targets SET state = 'paused' WHERE target_id = $1", paused)
        retention = retention_of(world, deliveries=10 * DAY)
        world.clock.advance(10 * DAY)
        await retention.sweep()
        assert {row["state"] for row in await world.log()} == {"waiting"}
        world.clock.advance(timedelta(seconds=1))
        await retention.sweep()
        assert [row["target_id"] for row in await world.log(state="failed")] == [paused]
        world.clock.advance(10 * DAY + timedelta(seconds=1))
        await retention.sweep()
        assert [(row["target_id"], row["state"]) for row in await world.log()] == [(active, "waiting")]


async def test_what_the_clock_told_of_a_job_is_told_once_however_long_it_goes_on(
    metrics_database: TestDatabase,
) -> None:
    async with telling_world(metrics_database) as world:
        await world.target(1, "job.budget_share", "job.completed")
        spent = {"spent_micro_usd": 4_900_000, "occurred_at": AT}
        await world.take(queued(occurred_at=AT), job_event(TrainingStarted, 5, JobStatus.TRAINING, **spent))
        assert await world.rules.by_the_clock() == 1
        await finish_all(world)
        world.clock.advance(100 * DAY)
        await retention_of(world).sweep()
        assert await world.rules.by_the_clock() == 0
        await world.take(job_event(JobFailed, 9, JobStatus.FAILED, reason=REASON, occurred_at=AT))
        await retention_of(world).sweep()
        assert await world.log() == []


async def test_a_sweep_forgets_all_that_is_due_however_much_it_is(
    metrics_database: TestDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "_AT_ONCE", 3)
    async with telling_world(metrics_database) as world:
        await world.target(1, "job.failed")
        for number in range(8):
            job_id = f"job-{number:016x}"
            await world.take(queued(job_id=job_id, occurred_at=AT))
            await world.take(job_event(JobFailed, 9, JobStatus.FAILED, reason=REASON, job_id=job_id, occurred_at=AT))
        await finish_all(world)
        world.clock.advance(JOB_NEEDED_FOR + DAY)
        await retention_of(world).sweep()
        assert (await jobs(world), await world.log()) == ([], [])

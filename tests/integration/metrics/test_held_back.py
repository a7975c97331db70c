"""Alerts beyond so many of one job to one target within an hour: one message says so, the others are counted."""

import asyncio
import json
from datetime import timedelta

import pytest

from stoker_metrics.notifications.deliveries.repository import DeliveryRepository
from stoker_metrics.notifications.payloads import HELD_BACK, LONGEST_MESSAGE, words
from stoker_shared.events import JobCompleted, JobFailed, LandingStarted
from stoker_shared.job_state import EndReason, JobStatus
from stoker_shared.rpc.notifications import DeliveriesQuery, DeliveryFacts
from tests.support.notifications import JOB, OWNER, job_event, queued
from tests.support.servers import TestDatabase
from tests.support.telling import AT, TellingWorld, telling_world

OTHER = "job-00000000000000bb"
REASON = next(iter(EndReason))
HOUR = timedelta(hours=1)


async def kinds(world: TellingWorld, **wanted: object) -> list[str]:
    return [row["type"] for row in await world.log(**wanted)]


async def test_the_first_alert_beyond_the_cap_says_so_and_the_others_are_counted(
    metrics_database: TestDatabase,
) -> None:
    async with telling_world(metrics_database) as world:
        await world.target(1, "job.alert")
        await world.take(queued(occurred_at=AT))
        await world.alerts(57)
        assert await kinds(world) == ["job.alert"] * 20 + [HELD_BACK]
        notice = (await world.log(type=HELD_BACK))[0]
        until = AT + timedelta(seconds=20) + HOUR
        assert (notice["held_back"], notice["held_until"], notice["state"]) == (37, until, "waiting")


async def test_the_message_says_until_when_and_where_to_read(metrics_database: TestDatabase) -> None:
    async with telling_world(metrics_database, most_alerts=1) as world:
        await world.target(1, "job.alert")
        await world.take(queued(occurred_at=AT))
        await world.alerts(2)
        body = (await world.log(type=HELD_BACK))[0]["payload"]
        data = json.loads(body)["data"]
        assert data["held_until"] == "2026-11-22T11:00:01Z"
        assert data["links"]["log"] == f"https://stoker.example/v1/jobs/{JOB}/logs"
        assert len(data["message"]) < LONGEST_MESSAGE
        text = words(body).text
        for said in ("1 alert", "2026-11-22 11:00 UTC", f"stoker logs {JOB}", data["links"]["log"]):
            assert said in text


async def test_the_log_of_deliveries_shows_how_many_were_held_back(metrics_database: TestDatabase) -> None:
    async with telling_world(metrics_database, most_alerts=1) as world:
        await world.target(1, "job.alert")
        await world.take(queued(occurred_at=AT))
        await world.alerts(5)
        async with world.database.transaction() as session:
            page = await DeliveryRepository().page(session, DeliveriesQuery(owner=OWNER))
        newest, first = (DeliveryFacts.model_validate(row) for row in page)
        assert (newest.type, newest.held_back, newest.held_until) == (HELD_BACK, 4, AT + HOUR + timedelta(seconds=1))
        assert (first.type, first.held_back, first.held_until) == ("job.alert", 0, None)


async def test_after_the_hour_alerts_go_out_again_and_are_counted_anew(metrics_database: TestDatabase) -> None:
    async with telling_world(metrics_database, most_alerts=3) as world:
        await world.target(1, "job.alert")
        await world.take(queued(occurred_at=AT))
        await world.alerts(10)
        over = AT + timedelta(seconds=3) + HOUR
        world.clock.advance(over - timedelta(microseconds=1) - world.clock.now())
        await world.take(world.alert())
        assert len(await world.log()) == 4
        world.clock.advance(timedelta(microseconds=1))
        await world.alerts(10)
        assert await kinds(world) == (["job.alert"] * 3 + [HELD_BACK]) * 2
        assert [row["held_back"] for row in await world.log(type=HELD_BACK)] == [8, 7]


@pytest.mark.parametrize("every", [timedelta(seconds=7), timedelta(minutes=2), timedelta(minutes=7)])
async def test_in_no_hour_there_are_more_than_the_cap_and_one_notice_and_all_are_accounted_for(
    metrics_database: TestDatabase, every: timedelta
) -> None:
    async with telling_world(metrics_database, most_alerts=4) as world:
        await world.target(1, "job.alert")
        await world.take(queued(occurred_at=AT))
        await world.alerts(80, every=every)
        told = await world.log()
        moments = [row["created_at"] for row in told]
        assert max(sum(first <= moment < first + HOUR for moment in moments) for first in moments) <= 5
        assert sum(row["held_back"] or 1 for row in told) == 80


async def test_alerts_that_stay_below_the_cap_all_go_out(metrics_database: TestDatabase) -> None:
    async with telling_world(metrics_database, most_alerts=4) as world:
        await world.target(1, "job.alert")
        await world.take(queued(occurred_at=AT))
        await world.alerts(12, every=timedelta(minutes=15))
        assert await kinds(world) == ["job.alert"] * 12


async def test_other_jobs_other_targets_and_all_that_is_no_alert_are_not_held_back(
    metrics_database: TestDatabase,
) -> None:
    async with telling_world(metrics_database, most_alerts=2) as world:
        everything = ("job.alert", "job.completed", "job.failed", "job.landing", "job.budget_share")
        flooded = await world.target(1, *everything)
        ends = await world.target(2, "job.failed")
        await world.take(queued(occurred_at=AT), queued(job_id=OTHER, occurred_at=AT))
        await world.alerts(9)
        await world.alerts(2, job_id=OTHER)
        landing = job_event(
            LandingStarted,
            5,
            JobStatus.TRAINING,
            why="budget",
            deadline=AT,
            detail="",
            spent_micro_usd=4_900_000,
            occurred_at=world.clock.now(),
        )
        await world.take(landing)
        assert await world.rules.by_the_clock() == 1
        now = {"reason": REASON, "occurred_at": world.clock.now()}
        await world.take(job_event(JobFailed, 9, JobStatus.FAILED, **now))
        await world.take(job_event(JobCompleted, 9, JobStatus.COMPLETED, job_id=OTHER, **now))
        assert await kinds(world, job_id=JOB, target_id=flooded) == [
            *("job.alert", "job.alert", HELD_BACK, "job.landing", "job.budget_share", "job.failed")
        ]
        assert await kinds(world, job_id=OTHER, target_id=flooded) == ["job.alert", "job.alert", "job.completed"]
        assert await kinds(world, target_id=ends) == ["job.failed"]


async def test_each_target_has_a_cap_of_its_own(metrics_database: TestDatabase) -> None:
    async with telling_world(metrics_database, most_alerts=3) as world:
        await world.target(1, "job.alert")
        await world.take(queued(occurred_at=AT))
        await world.alerts(5)
        later = await world.target(2, "job.alert")
        await world.alerts(4)
        assert await kinds(world, target_id=later) == ["job.alert"] * 3 + [HELD_BACK]
        assert sorted(row["held_back"] for row in await world.log(type=HELD_BACK)) == [1, 6]


async def test_the_same_alert_again_is_counted_once(metrics_database: TestDatabase) -> None:
    async with telling_world(metrics_database, most_alerts=1) as world:
        await world.target(1, "job.alert")
        await world.take(queued(occurred_at=AT))
        alerts = [world.alert() for _ in range(4)]
        await world.take(*alerts, *alerts, *reversed(alerts))
        assert [row["held_back"] for row in await world.log()] == [0, 3]


async def test_replicas_that_take_alerts_at_the_same_time_keep_the_cap_together(
    metrics_database: TestDatabase,
) -> None:
    async with telling_world(metrics_database, most_alerts=5) as world:
        await world.target(1, "job.alert")
        await world.target(2, "job.alert")
        await world.take(queued(occurred_at=AT))
        await asyncio.gather(*(world.take(world.alert()) for _ in range(40)))
        for number in (1, 2):
            told = await world.log(target_id=f"target-{number:016x}")
            assert sorted(row["held_back"] for row in told) == [0] * 5 + [35]


async def test_alerts_that_come_late_are_kept_as_such_and_start_no_hold(metrics_database: TestDatabase) -> None:
    async with telling_world(metrics_database, most_alerts=2) as world:
        await world.target(1, "job.alert")
        await world.take(queued(occurred_at=AT))
        await world.take(*(world.alert(at=AT - timedelta(hours=2)) for _ in range(5)))
        await world.alerts(3)
        assert [row["state"] for row in await world.log()] == ["late"] * 5 + ["waiting"] * 3
        assert await kinds(world, state="waiting") == ["job.alert", "job.alert", HELD_BACK]

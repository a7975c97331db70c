"""Alerts: each is kept and told once, up to so many of a level in a job, and read in order by those who may."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stoker_metrics.alerts.keeping import CAPPED
from stoker_metrics.alerts.service import AlertReader
from stoker_metrics.keeping.schemas import Caps
from stoker_metrics.pages import MAX_PAGE_BYTES
from stoker_metrics.retention.service import Retention, RetentionRules
from stoker_shared.errors import NotFound
from stoker_shared.rpc.alerts import Alerts, AlertsQuery
from stoker_shared.rpc.metrics import Alert
from tests.support.metrics import JOB, OWNER
from tests.support.servers import TestDatabase
from tests.support.storing import AT, StoringWorld, storing_world

MOST = 3
OTHER_JOB = "job-ffffffffffffffff"


def raised(sequence: int, *, job_id: str = JOB, attempt: int = 1, level: str = "warning", message: str = "") -> Alert:
    fields = {"job_id": job_id, "attempt": attempt, "level": level, "message": message or f"alert {sequence}"}
    return Alert.model_validate({"sequence": sequence, "at": AT, "code": "note", **fields})


async def told(world: StoringWorld) -> list[tuple[str, str, str]]:
    rows = await world.rows("SELECT payload FROM outbox ORDER BY id")
    events = [json.loads(row["payload"]) for row in rows]
    return [(event["level"], event["code"], event["message"]) for event in events]


async def read(world: StoringWorld, *, limit: int = 100, owner: str = OWNER) -> Alerts:
    """Page by page to the end."""
    reader = AlertReader(world.database, attempts=world.attempts, most=MOST)
    found = Alerts(alerts=[])
    while True:
        last = found.alerts[-1] if found.alerts else None
        place = {"after_attempt": last.attempt, "after_sequence": last.sequence} if last else {}
        page = await reader.alerts(AlertsQuery(owner=owner, job_id=JOB, limit=limit, **place))
        if not page.alerts:
            return found.model_copy(update={"capped": page.capped})
        found.alerts.extend(page.alerts)


@pytest.fixture
async def world(metrics_database: TestDatabase) -> AsyncIterator[StoringWorld]:
    """Two attempts of a job that may have three alerts of a level."""
    async with storing_world(metrics_database, caps=Caps(alerts=MOST)) as made:
        for attempt in (1, 2):
            await made.admit(attempt=attempt)
        yield made


async def test_alerts_of_all_attempts_are_read_in_order_page_by_page(world: StoringWorld) -> None:
    await world.keep(raised(5, attempt=2, level="error"), raised(1), raised(7))
    for limit in (1, 2, 100):
        page = await read(world, limit=limit)
        assert [(found.attempt, found.sequence, found.level) for found in page.alerts] == [
            (1, 1, "warning"),
            (1, 7, "warning"),
            (2, 5, "error"),
        ]
        assert page.capped == []


async def test_nobody_reads_those_of_another(world: StoringWorld) -> None:
    await world.keep(raised(1))
    with pytest.raises(NotFound):
        await read(world, owner="user-0000000000000002")


async def test_an_alert_beyond_the_cap_is_neither_kept_nor_told_and_the_cap_is_told_once(world: StoringWorld) -> None:
    await world.keep(*(raised(number) for number in (1, 2)))
    await world.keep(*(raised(number, attempt=2) for number in range(1, 6)))
    await world.keep(raised(9, attempt=2))
    await world.keep(raised(1))  # again
    page = await read(world)
    assert [(found.attempt, found.sequence) for found in page.alerts] == [(1, 1), (1, 2), (2, 1)]
    assert page.capped == ["warning"]
    assert [code for _, code, _ in await told(world)] == ["note", "note", "note", CAPPED]
    text = "3 warnings of this job are kept; later ones stand in its log alone"
    assert (await told(world))[-1] == ("warning", CAPPED, text)


async def test_warnings_without_end_leave_room_for_the_error_and_for_other_jobs(world: StoringWorld) -> None:
    await world.admit(OTHER_JOB)
    await world.keep(*(raised(number) for number in range(1, 500)))
    await world.keep(raised(500, level="error"), raised(1, job_id=OTHER_JOB))
    assert [found.level for found in (await read(world)).alerts] == ["warning"] * MOST + ["error"]
    assert (await world.rows("SELECT count(*) AS n FROM alerts WHERE job_id = $1", OTHER_JOB))[0]["n"] == 1


async def test_long_messages_make_short_pages(metrics_database: TestDatabase) -> None:
    size = 60_000
    async with storing_world(metrics_database) as world:
        await world.admit()
        await world.keep(*(raised(number, message="x" * size) for number in range(1, 31)))
        reader = AlertReader(world.database, attempts=world.attempts, most=1_000)
        page = await reader.alerts(AlertsQuery(owner=OWNER, job_id=JOB))
        assert 0 < len(page.alerts) <= MAX_PAGE_BYTES // size
        assert len((await read(world)).alerts) == 30


def one_of(sequence: int, attempt: int) -> Alert:
    """A pod gives a number to one alert."""
    return raised(sequence, attempt=attempt, level="error" if sequence % 2 else "warning")


@given(
    alerts=st.lists(st.builds(one_of, st.integers(1, 6), st.integers(1, 2)), max_size=25),
    cuts=st.lists(st.integers(0, 25), max_size=4),
    times=st.integers(1, 2),
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_however_they_come_no_more_than_the_cap_is_kept_and_what_is_kept_is_told_once(
    metrics_database: TestDatabase, alerts: list[Alert], cuts: list[int], times: int
) -> None:
    async with storing_world(metrics_database, caps=Caps(alerts=2)) as world:
        for table in ("alerts", "outbox", "pod_event_counters", "attempt_reports"):
            await world.execute(f"DELETE FROM {table}")
        for attempt in (1, 2):
            await world.admit(attempt=attempt)
        for _ in range(times):
            for start, end in zip([0, *sorted(cuts)], [*sorted(cuts), len(alerts)], strict=True):
                if alerts[start:end]:
                    await world.keep(*alerts[start:end])
        rows = await world.rows("SELECT level, message FROM alerts")
        wanted = {alert.level: {(a.attempt, a.sequence) for a in alerts if a.level == alert.level} for alert in alerts}
        for level, keys in wanted.items():
            assert sum(row["level"] == level for row in rows) == min(2, len(keys))
        said = await told(world)
        assert sorted(text for _, code, text in said if code != CAPPED) == sorted(row["message"] for row in rows)
        assert sum(code == CAPPED for _, code, _ in said) == sum(len(keys) >= 2 for keys in wanted.values())


async def test_old_alerts_go_and_new_ones_stay(world: StoringWorld) -> None:
    later = AT + timedelta(days=8)
    await world.keep(raised(1), raised(2).model_copy(update={"at": later}))
    retention = Retention(world.database, clock=world.clock, rules=RetentionRules(logs=timedelta(days=10)))
    world.clock.advance(timedelta(days=10))
    await retention.sweep()
    assert len((await read(world)).alerts) == 2
    world.clock.advance(timedelta(seconds=1))
    await retention.sweep()
    assert [found.sequence for found in (await read(world)).alerts] == [2]
    forever = Retention(world.database, clock=world.clock, rules=RetentionRules(logs=None))
    world.clock.advance(timedelta(days=1000))
    await forever.sweep()
    assert len((await read(world)).alerts) == 1


async def test_two_replicas_at_once_store_and_tell_each_once(world: StoringWorld) -> None:
    batch = [raised(number) for number in range(1, 3)]
    await asyncio.gather(*(world.keep(*batch) for _ in range(4)))
    assert [code for _, code, _ in await told(world)] == ["note", "note"]

"""Following a job over Server-Sent Events."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import httpx
import pytest
from httpx_sse import EventSource, ServerSentEvent
from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from stoker_api.jobs.subscribers import JobReadModel
from stoker_shared import subjects
from stoker_shared.clock import ManualClock
from stoker_shared.database import Database
from stoker_shared.rpc.metrics import Heartbeat, Line, LogBatch, MetricsBatch, Point
from tests.integration.api.conftest import Api, Serve, User
from tests.integration.api.events import a_failure, a_life
from tests.integration.api.peers import Peers
from tests.support.bus import until_true
from tests.support.servers import TestDatabase
from tests.unit.api.examples import NOW

PATIENCE = 15


@dataclass
class Stream:
    """An open stream."""

    status: int
    events: AsyncIterator[ServerSentEvent]

    async def next(self) -> ServerSentEvent:
        """The next event."""
        async with asyncio.timeout(PATIENCE):
            return await anext(self.events)

    async def rest(self) -> list[ServerSentEvent]:
        """All until the server ends the stream."""
        async with asyncio.timeout(PATIENCE):
            return [event async for event in self.events]


@asynccontextmanager
async def following(http: httpx.AsyncClient, job_id: str, *, after: int | None = None) -> AsyncIterator[Stream]:
    """A stream of a job."""
    headers = {} if after is None else {"Last-Event-ID": str(after)}
    async with http.stream("GET", f"/v1/jobs/{job_id}/events", headers=headers) as response:
        events = EventSource(response).aiter_sse() if response.status_code == 200 else _nothing()
        yield Stream(response.status_code, events)


async def _nothing() -> AsyncIterator[ServerSentEvent]:
    return
    yield  # pragma: no cover - makes this a generator


@pytest.fixture
async def read_model(api_database: TestDatabase, clock: ManualClock) -> AsyncIterator[JobReadModel]:
    """Another replica's consumer: it writes, but no stream is in its process."""
    database = Database(SecretStr(api_database.url("api")), pool_size=4)
    yield JobReadModel(database, clock=clock)
    await database.close()


def sequences(events: list[ServerSentEvent]) -> list[int]:
    return [int(event.id) for event in events if event.event == "job"]


async def test_a_stream_replays_what_happened_follows_what_happens_and_ends(user: User, peers: Peers) -> None:
    job_id = await user.job()
    life = a_life(job_id)
    for event in life[:3]:
        await peers.tell(event)
    async with following(user.http, job_id) as stream:
        assert [int((await stream.next()).id) for _ in range(3)] == [1, 2, 3]
        for event in life[3:]:
            await peers.tell(event)
        assert sequences(await stream.rest()) == [4, 5, 6, 7, 8]


async def test_an_event_tells_the_state_after_it_and_what_is_its_own(user: User, read_model: JobReadModel) -> None:
    job_id = await user.job()
    for event in (*a_life(job_id)[:2], a_failure(job_id, 3)):
        await read_model.record(event)
    async with following(user.http, job_id) as stream:
        _, provisioning, failed = [json.loads(event.data) for event in await stream.rest()]
    assert (provisioning["type"], provisioning["status"], provisioning["attempt"]) == (
        "provisioning_started",
        "provisioning",
        1,
    )
    assert provisioning["fact"] == {
        "provider": "local",
        "gpu_type": "cpu",
        "gpu_count": 0,
        "reserved_micro_usd": 300,
        "per_device": None,
        "accumulation": None,
        "may_resume": True,
    }
    assert (failed["is_over"], failed["reason"]) == (True, "out_of_memory")
    assert failed["advice"]
    assert failed["fact"] == {}


async def test_a_stream_goes_on_after_the_last_event_that_the_client_has(user: User, read_model: JobReadModel) -> None:
    job_id = await user.job()
    for event in a_life(job_id):
        await read_model.record(event)
    async with following(user.http, job_id, after=5) as stream:
        assert sequences(await stream.rest()) == [6, 7, 8]


async def test_a_client_that_has_everything_of_a_finished_job_is_told_to_stay_away(
    user: User, read_model: JobReadModel
) -> None:
    job_id = await user.job()
    for event in a_life(job_id):
        await read_model.record(event)
    async with following(user.http, job_id, after=8) as stream:
        assert stream.status == 204


async def test_a_nonsensical_last_event_id_is_refused(user: User) -> None:
    response = await user.http.get(f"/v1/jobs/{await user.job()}/events", headers={"Last-Event-ID": "x"})
    assert response.status_code == 422


async def test_events_consumed_by_another_replica_reach_the_stream_at_once(
    user: User, read_model: JobReadModel
) -> None:
    # The heartbeat, at which a stream looks by itself, is 15 s: only the notification can be in time.
    job_id = await user.job()
    async with following(user.http, job_id) as stream:
        for event in a_life(job_id):
            await read_model.record(event)
            async with asyncio.timeout(5):
                assert int((await anext(stream.events)).id) == event.sequence


async def test_every_replica_streams_every_event(user: User, peers: Peers, serve: Serve) -> None:
    job_id = await user.job()
    async with (
        serve() as other,
        other.client(user.key) as http,
        following(user.http, job_id) as here,
        following(http, job_id) as there,
    ):
        for event in a_life(job_id):
            await peers.tell(event)
        assert sequences(await here.rest()) == sequences(await there.rest()) == list(range(1, 9))


async def test_events_that_are_stored_out_of_order_are_sent_in_order(user: User, read_model: JobReadModel) -> None:
    job_id = await user.job()
    life = a_life(job_id)
    async with following(user.http, job_id) as stream:
        for number in (1, 0, 4, 3, 2, 7, 6, 5):
            await read_model.record(life[number])
        assert sequences(await stream.rest()) == list(range(1, 9))


async def test_a_gap_that_never_closes_is_stepped_over_in_the_end(
    user: User, read_model: JobReadModel, clock: ManualClock
) -> None:
    job_id = await user.job()
    life = a_life(job_id)
    async with following(user.http, job_id) as stream:
        await read_model.record(life[0])
        assert (await stream.next()).id == "1"
        for event in life[2:]:
            await read_model.record(event)
        clock.advance(timedelta(seconds=5))
        assert sequences(await stream.rest()) == [3, 4, 5, 6, 7, 8]


async def test_live_telemetry_reaches_who_follows_and_disturbs_no_publisher(user: User, peers: Peers) -> None:
    job_id = await user.job()
    point = Point(sequence=1, step=1, at=NOW, values={"loss": 2.5})
    line = Line(sequence=1, at=NOW, stream="stdout", text="hello\nworld")
    beat = Heartbeat(
        job_id=job_id, attempt=1, sequence=1, at=NOW, received_at=NOW, phase="training", step=4, total_steps=9
    )
    reports = {
        "metrics": MetricsBatch(job_id=job_id, attempt=1, points=[point]),
        "logs": LogBatch(job_id=job_id, attempt=1, lines=[line]),
        "heartbeat": beat,
    }
    for event in a_life(job_id)[:1]:
        await peers.tell(event)
    async with following(user.http, job_id) as stream:
        assert (await stream.next()).event == "job"
        told: dict[str, Any] = {}
        for kind, report in reports.items():
            assert await peers.report(subjects.telemetry(job_id, kind), report) == "TELEMETRY"
            heard = await stream.next()
            told[heard.event] = json.loads(heard.data)
    assert told["metrics"]["points"][0]["values"] == {"loss": 2.5}
    assert told["log"]["lines"][0]["text"] == "hello\nworld"
    assert (told["progress"]["step"], told["progress"]["total_steps"]) == (4, 9)


async def test_telemetry_of_other_jobs_is_not_heard(user: User, peers: Peers) -> None:
    mine, other = await user.job(), await user.job()
    async with following(user.http, mine) as stream:
        for job_id, name in ((other, "theirs"), (mine, "mine")):
            line = Line(sequence=1, at=NOW, stream="stdout", text=name)
            await peers.report(subjects.telemetry(job_id, "logs"), LogBatch(job_id=job_id, attempt=1, lines=[line]))
        assert json.loads((await stream.next()).data)["lines"][0]["text"] == "mine"


async def test_clients_that_leave_leave_nothing_behind(user: User, api: Api, peers: Peers) -> None:
    job_id = await user.job()
    hub = api.parts.follower.hub
    for event in a_life(job_id)[:1]:
        await peers.tell(event)
    for _ in range(5):
        async with following(user.http, job_id) as stream:
            await stream.next()
            assert hub.feed_count >= 1
    await until_true(lambda: hub.feed_count == 0, what="no feeds")
    assert not hub.is_followed(job_id)


async def test_streams_beyond_the_limit_are_refused_and_told_when_to_come_back(
    user: User, serve: Serve, read_model: JobReadModel
) -> None:
    job_id = await user.job()
    await read_model.record(a_life(job_id)[0])
    async with (
        serve(max_event_streams=1) as small,
        small.client(user.key) as http,
        following(http, job_id) as stream,
    ):
        await stream.next()
        response = await http.get(f"/v1/jobs/{job_id}/events")
        assert (response.status_code, response.json()["code"]) == (429, "too_many_streams")
        assert response.headers["retry-after"] == "5"


async def test_a_silent_stream_is_kept_alive_by_comments(user: User, serve: Serve) -> None:
    job_id = await user.job()
    async with (
        serve(event_heartbeat=timedelta(milliseconds=100)) as quick,
        quick.client(user.key) as http,
        http.stream("GET", f"/v1/jobs/{job_id}/events") as response,
        asyncio.timeout(PATIENCE),
    ):
        line = await anext(response.aiter_lines())
    assert line.startswith(": ping")


async def test_a_stream_survives_the_loss_of_the_listening_connection(
    user: User, read_model: JobReadModel, api_database: TestDatabase
) -> None:
    job_id = await user.job()
    life = a_life(job_id)
    async with following(user.http, job_id) as stream:
        await read_model.record(life[0])
        assert (await stream.next()).id == "1"
        assert await end_listeners(api_database) >= 1
        for event in life[1:]:
            await read_model.record(event)
        assert sequences(await stream.rest()) == list(range(2, 9))


async def end_listeners(database: TestDatabase) -> int:
    engine = create_async_engine(database.admin_url(driver="postgresql+asyncpg"))
    async with engine.connect() as connection:
        ended = await connection.execute(
            text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND query LIKE 'LISTEN%'"
            )
        )
        count = len(list(ended))
    await engine.dispose()
    return count


async def test_a_stopping_server_ends_its_streams(user: User, serve: Serve, read_model: JobReadModel) -> None:
    job_id = await user.job()
    await read_model.record(a_life(job_id)[0])
    async with asyncio.timeout(PATIENCE), user_stream(serve, user, job_id) as stream:
        await stream.next()


@asynccontextmanager
async def user_stream(serve: Serve, user: User, job_id: str) -> AsyncIterator[Stream]:
    """A stream that is still open when its server stops."""
    async with httpx.AsyncClient(timeout=PATIENCE, trust_env=False) as http, serve() as other:
        http.base_url = httpx.URL(other.url)
        http.headers["Authorization"] = f"Bearer {user.key}"
        request = http.build_request("GET", f"/v1/jobs/{job_id}/events")
        response = await http.send(request, stream=True)
        yield Stream(response.status_code, EventSource(response).aiter_sse())

"""Streams that ask the same at the same time share one question to the database."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest
from pydantic import SecretStr
from sqlalchemy.ext.asyncio import AsyncSession

from stoker_api.following.hub import LiveHub
from stoker_api.following.looking import JobLooks
from stoker_api.jobs.subscribers import JobReadModel
from stoker_shared.clock import ManualClock
from stoker_shared.database import Database
from stoker_shared.identifiers import new_identifier
from tests.integration.api.events import a_life
from tests.support.servers import TestDatabase

STREAMS = 200


class CountingDatabase(Database):
    """Counts transactions, and can hold them before they read."""

    def __init__(self, url: SecretStr) -> None:
        super().__init__(url, pool_size=4)
        self.transactions = 0
        self.may_read = asyncio.Event()
        self.may_read.set()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncSession]:
        """As the database does it."""
        self.transactions += 1
        await self.may_read.wait()
        async with super().transaction() as session:
            yield session


@pytest.fixture
async def database(api_database: TestDatabase) -> AsyncIterator[CountingDatabase]:
    counting = CountingDatabase(SecretStr(api_database.url("api")))
    yield counting
    await counting.close()


@pytest.fixture
def hub() -> LiveHub:
    return LiveHub(queue_size=10, max_feeds=10)


@pytest.fixture
def looks(database: CountingDatabase, hub: LiveHub, clock: ManualClock) -> JobLooks:
    return JobLooks(database, hub=hub, clock=clock, gap_patience=timedelta(seconds=5))


async def recorded(database: CountingDatabase, clock: ManualClock, *, events: int) -> str:
    job_id = new_identifier("job")
    for event in a_life(job_id)[:events]:
        await JobReadModel(database, clock=clock).record(event)
    database.transactions = 0
    return job_id


async def test_many_streams_ask_once(looks: JobLooks, database: CountingDatabase, clock: ManualClock) -> None:
    job_id = await recorded(database, clock, events=3)
    seen = await asyncio.gather(*(looks.look(job_id, after=0) for _ in range(STREAMS)))
    assert {item.last for item in seen} == {3}
    assert len(seen[0].events) == 3
    assert database.transactions == 1
    assert (await looks.look(job_id, after=3)).events == ()
    assert database.transactions == 2


async def test_a_look_that_began_before_an_announcement_is_not_shared_after_it(
    looks: JobLooks, hub: LiveHub, database: CountingDatabase, clock: ManualClock
) -> None:
    job_id = await recorded(database, clock, events=1)
    database.may_read.clear()
    early = asyncio.create_task(looks.look(job_id, after=0))
    await asyncio.sleep(0)
    hub.wake(job_id)
    late = asyncio.create_task(looks.look(job_id, after=0))
    await asyncio.sleep(0)
    database.may_read.set()
    await asyncio.gather(early, late)
    assert database.transactions == 2


async def test_a_stream_that_is_closed_does_not_take_the_answer_from_the_others(
    looks: JobLooks, database: CountingDatabase, clock: ManualClock
) -> None:
    job_id = await recorded(database, clock, events=2)
    database.may_read.clear()
    first, second = (asyncio.create_task(looks.look(job_id, after=0)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    database.may_read.set()
    assert (await second).last == 2
    assert first.cancelled()
    assert database.transactions == 1

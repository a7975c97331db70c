"""The inbox under concurrency, and errors of a database that is away for a while."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import asyncpg
import psutil
import pytest
from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError, ProgrammingError

from stoker.stack.standalone import RunningPostgres
from stoker_shared.database import Database, migrate_down, migrate_up
from stoker_shared.errors import ServiceUnavailable
from stoker_shared.outbox import first_time
from tests.support.bus import until

MIGRATIONS = Path(__file__).parent / "migrations"

NOW = datetime(2026, 11, 22, tzinfo=UTC)


async def test_of_many_deliveries_at_once_one_is_the_first(outbox_database: Database) -> None:
    event_id = uuid4()

    async def deliver() -> bool:
        async with outbox_database.transaction() as session:
            is_first = await first_time(session, consumer="c", event_id=event_id, now=NOW)
            await asyncio.sleep(0.05)
            return is_first

    assert sorted(await asyncio.gather(*(deliver() for _ in range(8)))) == [False] * 7 + [True]


async def test_a_delivery_that_was_rolled_back_does_not_count(outbox_database: Database) -> None:
    event_id = uuid4()

    async def fail() -> None:
        async with outbox_database.transaction() as session:
            assert await first_time(session, consumer="c", event_id=event_id, now=NOW)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    async with outbox_database.transaction() as session:
        assert await first_time(session, consumer="c", event_id=event_id, now=NOW)


async def test_consumers_do_not_share_their_memory(outbox_database: Database) -> None:
    event_id = uuid4()
    async with outbox_database.transaction() as session:
        assert await first_time(session, consumer="one", event_id=event_id, now=NOW)
        assert await first_time(session, consumer="two", event_id=event_id, now=NOW)
        assert not await first_time(session, consumer="two", event_id=event_id, now=NOW)


async def test_while_the_database_is_away_every_error_says_so(
    outbox_database: Database, postgres: RunningPostgres
) -> None:
    async def ask() -> None:
        async with outbox_database.transaction() as session:
            await session.execute(text("SELECT pg_sleep(0.02)"))

    await ask()
    over, answered, unavailable = asyncio.Event(), 0, 0

    async def keep_asking() -> None:
        nonlocal answered, unavailable
        while not over.is_set():
            try:
                await ask()
                answered += 1
            except ServiceUnavailable:
                unavailable += 1
                await asyncio.sleep(0.01)

    asking = [asyncio.create_task(keep_asking()) for _ in range(4)]
    await asyncio.to_thread(postgres.restart)
    await asyncio.to_thread(postgres.kill)
    await asyncio.sleep(0.3)
    await asyncio.to_thread(postgres.start)
    await until(outbox_database.is_ready)
    over.set()
    await asyncio.gather(*asking)
    assert unavailable > 0
    assert answered > 0


async def test_a_pool_without_a_free_connection_is_unavailable(outbox_url: SecretStr) -> None:
    database = Database(outbox_url, pool_size=1)
    database.engine.pool._timeout = 0.2  # type: ignore[attr-defined]
    try:
        async with database.transaction() as one, database.transaction() as two:
            await one.execute(text("SELECT 1"))
            await two.execute(text("SELECT 1"))
            with pytest.raises(ServiceUnavailable):
                async with database.transaction() as three:
                    await three.execute(text("SELECT 1"))
    finally:
        await database.close()


async def test_a_server_without_a_free_connection_is_unavailable(
    outbox_url: SecretStr, postgres: RunningPostgres
) -> None:
    admin = await asyncpg.connect(postgres.url("postgres", database="postgres"))
    database = Database(outbox_url)
    try:
        await admin.execute("ALTER ROLE stoker_deployer CONNECTION LIMIT 0")
        with pytest.raises(ServiceUnavailable):
            async with database.transaction() as session:
                await session.execute(text("SELECT 1"))
    finally:
        await admin.execute("ALTER ROLE stoker_deployer CONNECTION LIMIT -1")
        await admin.close()
        await database.close()


async def test_a_deadlock_may_pass(outbox_database: Database) -> None:
    async with outbox_database.transaction() as session:
        for consumer in ("one", "two"):
            await first_time(session, consumer=consumer, event_id=uuid4(), now=NOW)
    lock = text("UPDATE processed SET processed_at = now() WHERE consumer = :consumer")
    both_hold = asyncio.Barrier(2)

    async def cross(first: str, second: str) -> None:
        async with outbox_database.transaction() as session:
            await session.execute(lock, {"consumer": first})
            await both_hold.wait()
            await session.execute(lock, {"consumer": second})

    results = await asyncio.gather(cross("one", "two"), cross("two", "one"), return_exceptions=True)
    assert sorted(type(result).__name__ for result in results) == ["NoneType", "ServiceUnavailable"]


async def test_a_fault_of_ours_is_not_taken_for_an_outage(outbox_database: Database) -> None:
    with pytest.raises(ProgrammingError):
        async with outbox_database.transaction() as session:
            await session.execute(text("SELECT nonsense"))
    insert = text("INSERT INTO processed (consumer, event_id, processed_at) VALUES ('c', :id, now())")
    event_id = uuid4()

    async def insert_twice() -> None:
        async with outbox_database.transaction() as session:
            for _ in range(2):
                await session.execute(insert, {"id": event_id})

    with pytest.raises(IntegrityError):
        await insert_twice()


def test_the_outbox_tables_go_down_and_up_again(outbox_url: SecretStr) -> None:
    migrate_down(MIGRATIONS, database_url=outbox_url)
    migrate_up(MIGRATIONS, database_url=outbox_url)
    migrate_up(MIGRATIONS, database_url=outbox_url)


async def test_a_transaction_that_does_not_end_is_given_up_and_leaves_the_pool_whole(outbox_url: SecretStr) -> None:
    database = Database(outbox_url, pool_size=1, transaction_limit=timedelta(seconds=1))
    try:
        for _ in range(3):
            with pytest.raises(ServiceUnavailable):
                async with database.transaction() as session:
                    await session.execute(text("SELECT pg_sleep(30)"))
        assert await database.is_ready()
    finally:
        await database.close()


async def test_a_server_that_is_frozen_holds_nobody_for_ever(outbox_url: SecretStr, postgres: RunningPostgres) -> None:
    database = Database(outbox_url, pool_size=1, transaction_limit=timedelta(seconds=1))
    assert await database.is_ready()
    assert postgres.pid is not None
    processes = [psutil.Process(postgres.pid), *psutil.Process(postgres.pid).children(recursive=True)]
    try:
        for process in processes:
            process.suspend()
        async with asyncio.timeout(20):
            assert not await database.is_ready()
    finally:
        for process in processes:
            process.resume()
    async with asyncio.timeout(20):
        assert await database.is_ready()
    await database.close()

"""A job's first message is sent by whoever stored it, and not lost if that one dies."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest

from stoker.stack.standalone import RunningNats
from stoker_shared.bus import Bus
from stoker_shared.clock import Clock, ManualClock, SystemClock
from stoker_shared.database import Database
from stoker_shared.outbox import FirstMessage, Relay, RelaySettings, enqueue
from stoker_shared.tasks import end_tasks
from tests.support.bus import bus_of, kill, start, started, stored, until
from tests.support.outbox import fact, is_sent, job, sequences

PATIENT = RelaySettings(idle_poll=timedelta(hours=1), broker_check=timedelta(hours=1))


@pytest.fixture
async def deployer(clean_bus: RunningNats) -> AsyncIterator[Bus]:
    async with started(bus_of(clean_bus, "deployer")) as bus:
        yield bus


@asynccontextmanager
async def running(relay: Relay) -> AsyncIterator[None]:
    """The relay, and its first look at the broker done."""
    task = asyncio.create_task(relay.run())
    await until(lambda: looked_at_broker(relay))
    try:
        yield
    finally:
        await end_tasks([task])


async def looked_at_broker(relay: Relay) -> bool:
    return not relay._has_returned


def relay_of(database: Database, bus: Bus, *, clock: Clock | None = None) -> Relay:
    relay = Relay(database, bus.publisher, clock=clock or SystemClock(), settings=PATIENT)
    bus.on_reconnect(relay.broker_returned)
    return relay


async def store(relay: Relay, database: Database, *, number: int = 1) -> FirstMessage:
    async with database.transaction() as session:
        return await relay.enqueue_first(session, fact(job(number), 1))


async def test_it_is_sent_without_a_poll_and_recorded_as_sent(
    clean_bus: RunningNats, deployer: Bus, outbox_database: Database
) -> None:
    relay = relay_of(outbox_database, deployer)
    async with running(relay):
        relay.send_first(await store(relay, outbox_database))
        await until(lambda: is_sent(outbox_database))
    (message,) = await stored(clean_bus, "EVENTS")
    assert message.headers is not None
    assert message.headers["Nats-Msg-Id"] == message.headers["ce-id"]


async def test_what_was_rolled_back_is_not_sent_by_anybody(
    clean_bus: RunningNats, deployer: Bus, outbox_database: Database
) -> None:
    relay = relay_of(outbox_database, deployer)

    async def fail() -> None:
        async with outbox_database.transaction() as session:
            await relay.enqueue_first(session, fact(job(1), 1))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert await is_sent(outbox_database)


async def test_if_its_sender_dies_another_one_sends_it_when_the_claim_has_run_out(
    clean_bus: RunningNats, deployer: Bus, outbox_database: Database
) -> None:
    clock = ManualClock(datetime.now(UTC))
    await store(relay_of(outbox_database, deployer, clock=clock), outbox_database)
    async with outbox_database.transaction() as session:
        await enqueue(session, fact(job(1), 2))
    heir = relay_of(outbox_database, deployer, clock=clock)
    assert await heir.send_pending() == 0, "neither the first, nor a later one that would overtake it"
    clock.advance(PATIENT.lease + timedelta(seconds=1))
    assert await heir.send_pending() == 2
    assert sequences(await stored(clean_bus, "EVENTS")) == {job(1): [1, 2]}


async def test_while_the_broker_is_away_it_waits_and_comes_once(
    clean_bus: RunningNats, deployer: Bus, outbox_database: Database
) -> None:
    relay = relay_of(outbox_database, deployer)
    async with running(relay):
        await kill(clean_bus)
        relay.send_first(await store(relay, outbox_database))
        await asyncio.sleep(0.3)
        assert not await is_sent(outbox_database)
        await start(clean_bus)
        await until(lambda: is_sent(outbox_database))
    assert sequences(await stored(clean_bus, "EVENTS")) == {job(1): [1]}


async def test_before_the_broker_was_looked_at_it_is_left_to_the_relay(
    clean_bus: RunningNats, deployer: Bus, outbox_database: Database
) -> None:
    relay = relay_of(outbox_database, deployer)
    relay.send_first(await store(relay, outbox_database))
    await asyncio.sleep(0.3)
    assert not await is_sent(outbox_database)
    async with running(relay):
        await until(lambda: is_sent(outbox_database))
    assert sequences(await stored(clean_bus, "EVENTS")) == {job(1): [1]}

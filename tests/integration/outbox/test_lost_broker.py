"""A broker that comes back with less than it had is fed again."""

import asyncio
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from stoker.stack.standalone import RunningNats, running_nats
from stoker_shared.bus import Bus
from stoker_shared.clock import ManualClock
from stoker_shared.database import Database
from stoker_shared.outbox import Relay, RelaySettings
from tests.support.bus import bus_of, kill, start, started, stored, until
from tests.support.outbox import fill, is_sent, job, sequences
from tests.support.servers import reset_bus

SETTINGS = RelaySettings(broker_check=timedelta(seconds=10))


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[RunningNats]:
    """A broker of this test alone, whose store may be damaged."""
    with running_nats(tmp_path / "nats") as server:
        server.loop.run(reset_bus(server))
        yield server


def store_of(tmp_path: Path) -> Path:
    return tmp_path / "nats" / "jetstream"


async def sent(relay: Relay) -> int:
    """One round, with its look at the broker first."""
    return await relay._round()


def relay_of(database: Database, bus: Bus, clock: ManualClock) -> Relay:
    relay = Relay(database, bus.publisher, clock=clock, settings=SETTINGS)
    bus.on_reconnect(relay.broker_returned)
    return relay


async def test_a_broker_that_lost_its_store_is_fed_again(
    broker: RunningNats, outbox_database: Database, tmp_path: Path
) -> None:
    clock = ManualClock(datetime.now(UTC))
    async with started(bus_of(broker, "deployer")) as bus:
        relay = relay_of(outbox_database, bus, clock)
        await fill(outbox_database, jobs=2, events=3)
        assert await sent(relay) == 6
        clock.advance(SETTINGS.broker_check)
        await sent(relay)
        # Older than what is offered again after every reconnect: only the look at the stream can tell.
        clock.advance(timedelta(minutes=20))
        await kill(broker)
        shutil.rmtree(store_of(tmp_path))
        await start(broker)
        await asyncio.to_thread(broker.loop.run, reset_bus(broker))
        await until(bus.is_ready)
        assert await sent(relay) == 6
        assert await sent(relay) == 0
    assert sequences(await stored(broker, "EVENTS")) == {job(1): [1, 2, 3], job(2): [1, 2, 3]}


async def test_a_broker_with_an_older_store_is_fed_what_it_lacks(
    broker: RunningNats, outbox_database: Database, tmp_path: Path
) -> None:
    clock = ManualClock(datetime.now(UTC))
    async with started(bus_of(broker, "deployer")) as bus:
        relay = relay_of(outbox_database, bus, clock)
        await fill(outbox_database, jobs=2, events=2)
        assert await sent(relay) == 4
        await asyncio.to_thread(broker.stop)
        shutil.copytree(store_of(tmp_path), tmp_path / "snapshot")
        await start(broker)
        await until(bus.is_ready)
        await fill(outbox_database, jobs=2, events=3, first=3)
        await sent(relay)
        assert len(await stored(broker, "EVENTS")) == 10
        clock.advance(timedelta(minutes=20))
        await kill(broker)
        shutil.rmtree(store_of(tmp_path))
        shutil.copytree(tmp_path / "snapshot", store_of(tmp_path))
        # What waits here would fill the gap before anybody looked, if it were sent first.
        await fill(outbox_database, jobs=2, events=5, first=6)
        await start(broker)
        await until(bus.is_ready)
        assert await sent(relay) == 6 + 10
    expected = list(range(1, 11))
    assert sequences(await stored(broker, "EVENTS")) == {job(1): expected, job(2): expected}


async def test_a_gap_that_another_service_has_filled_is_mended_all_the_same(
    broker: RunningNats, outbox_database: Database, tmp_path: Path
) -> None:
    clock = ManualClock(datetime.now(UTC))
    async with started(bus_of(broker, "deployer")) as bus, started(bus_of(broker, "metrics")) as other:
        relay = relay_of(outbox_database, bus, clock)
        await sent(relay)
        await asyncio.to_thread(broker.stop)
        shutil.copytree(store_of(tmp_path), tmp_path / "snapshot")
        await start(broker)
        await until(bus.is_ready)
        await fill(outbox_database, jobs=1, events=3)
        assert await sent(relay) == 3
        await kill(broker)
        shutil.rmtree(store_of(tmp_path))
        shutil.copytree(tmp_path / "snapshot", store_of(tmp_path))
        await start(broker)
        await until(other.is_ready)
        for number in range(5):
            await other.publisher.publish(
                "evt.pod.job-1.exited", b'{"job_id": "pod", "sequence": 1}', message_id=f"{number}"
            )
        await until(bus.is_ready)
        assert await sent(relay) == 3
    assert sequences(await stored(broker, "EVENTS"))[job(1)] == [1, 2, 3]


async def test_a_broker_that_lost_nothing_gets_nothing_twice(broker: RunningNats, outbox_database: Database) -> None:
    clock = ManualClock(datetime.now(UTC))
    async with started(bus_of(broker, "deployer")) as bus:
        relay = relay_of(outbox_database, bus, clock)
        await fill(outbox_database, jobs=3, events=3)
        await sent(relay)
        for _ in range(2):
            await kill(broker)
            await start(broker)
            await until(bus.is_ready)
            await sent(relay)
        assert await is_sent(outbox_database)
    assert sequences(await stored(broker, "EVENTS")) == {job(n): [1, 2, 3] for n in (1, 2, 3)}


async def test_a_replica_that_sends_meanwhile_is_no_loss(broker: RunningNats, outbox_database: Database) -> None:
    clock = ManualClock(datetime.now(UTC))
    async with started(bus_of(broker, "deployer")) as bus:
        first, second = relay_of(outbox_database, bus, clock), relay_of(outbox_database, bus, clock)
        for number in range(1, 6):
            await fill(outbox_database, jobs=2, events=1, first=number)
            await asyncio.gather(sent(first), sent(second))
            assert sum(await asyncio.gather(first.check_broker(), second.check_broker())) == 0

"""What pods said and nobody has stored yet is no silence, whichever replica stores."""

import os
import signal
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from stoker.stack.standalone import RunningNats
from stoker_metrics.attempts.silence import Hearing
from stoker_metrics.storing.backlog import BacklogWatch
from stoker_shared.bus import Bus
from stoker_shared.clock import ManualClock
from stoker_shared.errors import ServiceUnavailable
from tests.support.bus import bus_of, kill, raw_client, started, until
from tests.support.metrics import (
    MetricsProcess,
    World,
    control_plane,
    heartbeat,
    metrics_service,
    points,
)
from tests.support.ports import free_port
from tests.support.servers import TestDatabase

LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)
SUBJECT = "tel.job-00000000000000aa.heartbeat"


@pytest.fixture
async def bus(clean_bus: RunningNats) -> AsyncIterator[Bus]:
    """Of the metrics service, with nobody who consumes."""
    async with started(bus_of(clean_bus, "metrics")) as connected:
        yield connected


@pytest.fixture
def hearing(clock: ManualClock) -> Hearing:
    """Past the grace of its start."""
    made = Hearing(clock=clock, silent_after=timedelta(seconds=15), grace=timedelta(seconds=45))
    clock.advance(timedelta(minutes=1))
    assert made.proves_silence(LONG_AGO)
    return made


@pytest.fixture
def watch(bus: Bus, hearing: Hearing) -> BacklogWatch:
    """Looks when it is told to."""
    return BacklogWatch(bus.publisher, hearing=hearing, every=timedelta(seconds=5))


async def tell(bus: Bus, *numbers: int) -> None:
    for number in numbers:
        await bus.publisher.publish(SUBJECT, b"{}", message_id=f"m-{number}")


async def store(server: RunningNats, count: int) -> None:
    """Acknowledge as the consumer does after its commit."""
    async with raw_client(server, "metrics") as client:
        waiting = await client.jetstream().pull_subscribe_bind("metrics_store", "TELEMETRY")
        for message in await waiting.fetch(count):
            await message.ack_sync()


async def test_what_came_since_the_last_look_is_not_late(bus: Bus, watch: BacklogWatch, hearing: Hearing) -> None:
    await watch.look()
    await tell(bus, 1, 2)
    await watch.look()
    assert hearing.proves_silence(LONG_AGO)


async def test_what_was_there_at_the_last_look_and_is_not_stored_makes_silence_prove_nothing(
    bus: Bus, watch: BacklogWatch, hearing: Hearing
) -> None:
    await tell(bus, 1, 2)
    await watch.look()
    await watch.look()
    assert not hearing.proves_silence(LONG_AGO)


async def test_once_it_is_stored_silence_counts_after_the_grace(
    bus: Bus, watch: BacklogWatch, hearing: Hearing, clock: ManualClock, clean_bus: RunningNats
) -> None:
    await tell(bus, 1, 2)
    await watch.look()
    await watch.look()
    await store(clean_bus, 2)
    await tell(bus, 3)  # new, so not late yet
    await watch.look()
    assert not hearing.proves_silence(LONG_AGO)
    clock.advance(timedelta(seconds=45))
    assert hearing.proves_silence(LONG_AGO)


async def test_while_the_broker_cannot_tell_silence_proves_nothing(
    watch: BacklogWatch, hearing: Hearing, clean_bus: RunningNats
) -> None:
    await watch.look()
    await kill(clean_bus)
    await watch.look()
    assert not hearing.proves_silence(LONG_AGO)


async def test_a_frozen_broker_does_not_end_the_watch(
    watch: BacklogWatch, hearing: Hearing, clean_bus: RunningNats
) -> None:
    pid = clean_bus.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        await watch.look()
    finally:
        os.kill(pid, signal.SIGCONT)
    assert not hearing.proves_silence(LONG_AGO)


@pytest.fixture
async def storing(metrics_variables: dict[str, str], tmp_path: Path) -> AsyncIterator[MetricsProcess]:
    """The replica that stores."""
    port = free_port()
    own = {"STOKER_METRICS_PORT": str(port), "STOKER_METRICS_PUBLIC_URL": f"http://127.0.0.1:{port}"}
    process = MetricsProcess(metrics_variables | own, tmp_path / "storing.log")
    await process.start()
    yield process
    process.kill()


@pytest.fixture
async def taking(
    metrics_variables: dict[str, str],
    storing: MetricsProcess,
    metrics_database: TestDatabase,
    clean_bus: RunningNats,
    clock: ManualClock,
) -> AsyncIterator[World]:
    """A replica that leaves storing to the other, and looks every tenth of a second."""
    assert storing.process is not None
    own = {"STOKER_METRICS_STORES_REPORTS": "false", "STOKER_METRICS_SILENT_AFTER": "PT0.3S"}
    async with (
        metrics_service(metrics_variables | own, clock=clock) as http,
        control_plane(clean_bus) as plane,
    ):
        clock.advance(timedelta(minutes=1))
        yield World(http, plane, clock, metrics_database)


async def test_a_replica_may_leave_storing_to_another(taking: World) -> None:
    token = await taking.plane.admit()
    for number in range(1, 6):
        assert (await taking.post("metrics", points(number), token)).status_code == 202
    await taking.until_rows("SELECT * FROM points", count=5)


async def is_deaf(world: World) -> bool:
    """Whether the service refuses to tell when the pod was heard."""
    try:
        await world.report()
    except ServiceUnavailable as error:
        return "could not hear" in str(error)
    return False


async def test_when_the_one_that_stores_dies_a_pod_that_speaks_is_not_called_silent(
    taking: World, storing: MetricsProcess
) -> None:
    token = await taking.plane.admit()
    assert (await taking.post("heartbeat", heartbeat(1), token)).status_code == 202
    await taking.until_rows("SELECT * FROM attempt_reports WHERE heartbeat_sequence = 1")
    storing.kill()
    assert (await taking.post("heartbeat", heartbeat(2), token)).status_code == 202
    assert (await taking.post("metrics", points(1), token)).status_code == 202
    taking.clock.advance(timedelta(minutes=1))  # whatever happened before the death is forgotten
    await until(lambda: is_deaf(taking), what="the replica to know that nobody stores")
    assert await taking.rows("SELECT * FROM points") == []
    await storing.start()
    await taking.until_rows("SELECT * FROM attempt_reports WHERE heartbeat_sequence = 2")
    await taking.until_rows("SELECT * FROM points", count=1)

"""The broker goes away and comes back."""

import asyncio
import json
import os
import signal
import time
from pathlib import Path
from types import SimpleNamespace

import nkeys
import pytest
from pydantic import BaseModel

from stoker.stack.standalone import RunningNats, running_nats
from stoker_shared.bus import Bus, MessageContext, consume
from stoker_shared.errors import BrokerUnavailable
from tests.support.bus import bus_of, kill, raw_client, start, started, stored, until, until_true
from tests.support.servers import reset_bus

LAUNCH = "cmd.deployer.job-0000000000000001.launch"


class Order(BaseModel):
    """A message for these tests."""

    number: int


def recording(bus: Bus) -> list[int]:
    seen: list[int] = []

    async def handle(order: Order, _context: MessageContext) -> None:
        seen.append(order.number)

    consume(bus, "deployer_launch", Order, handler=handle)
    return seen


async def longest_pause(seconds: float) -> float:
    """How long the event loop was blocked at worst meanwhile."""
    worst, end = 0.0, time.monotonic() + seconds
    while (before := time.monotonic()) < end:
        await asyncio.sleep(0.01)
        worst = max(worst, time.monotonic() - before)
    return worst


async def is_down(bus: Bus) -> bool:
    """Whether the client knows by now; it learns of a killed broker a moment later."""
    return not await bus.is_ready()


async def test_consuming_goes_on_after_a_restart_of_the_broker(clean_bus: RunningNats) -> None:
    deployer, api = bus_of(clean_bus, "deployer"), bus_of(clean_bus, "api")
    seen = recording(deployer)
    async with started(deployer), started(api):
        await api.publisher.publish(LAUNCH, b'{"number": 1}', message_id="m-1")
        await until_true(lambda: seen == [1])
        await kill(clean_bus)
        await until(lambda: is_down(deployer))
        await start(clean_bus)
        await until(deployer.is_ready)
        await until(api.is_ready)
        await api.publisher.publish(LAUNCH, b'{"number": 2}', message_id="m-2")
        await until_true(lambda: seen == [1, 2])


async def test_the_event_loop_stays_free_while_the_broker_is_away(clean_bus: RunningNats) -> None:
    deployer = bus_of(clean_bus, "deployer")
    recording(deployer)
    async with started(deployer):
        await kill(clean_bus)
        cpu_before = time.process_time()
        assert await longest_pause(3.0) < 0.5
        assert time.process_time() - cpu_before < 1.5, "something spins"
        await start(clean_bus)
        await until(deployer.is_ready)


async def test_publishing_during_an_outage_is_refused_and_lands_once_when_tried_again(clean_bus: RunningNats) -> None:
    async with started(bus_of(clean_bus, "api")) as api:
        await kill(clean_bus)
        with pytest.raises(BrokerUnavailable):
            await api.publisher.publish(LAUNCH, b"{}", message_id="m-1")
        await until_true(lambda: not api.broker.connection.is_connected)
        with pytest.raises(BrokerUnavailable, match="not connected"):
            await api.publisher.publish(LAUNCH, b"{}", message_id="m-1")
        await start(clean_bus)
        await until(api.is_ready)
        await api.publisher.publish(LAUNCH, b"{}", message_id="m-1")
        again = await api.publisher.publish(LAUNCH, b"{}", message_id="m-1")
    assert again.is_duplicate
    assert len(await stored(clean_bus, "COMMANDS")) == 1


async def test_a_message_whose_acknowledgement_was_lost_lands_once(clean_bus: RunningNats) -> None:
    async with started(bus_of(clean_bus, "api")) as api:
        pid = clean_bus.pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)  # the broker takes the bytes and says nothing
        try:
            api.publisher._timeout = 0.5
            with pytest.raises(BrokerUnavailable):
                await api.publisher.publish(LAUNCH, b"{}", message_id="m-1")
        finally:
            os.kill(pid, signal.SIGCONT)
        api.publisher._timeout = 5.0
        acknowledgement = await api.publisher.publish(LAUNCH, b"{}", message_id="m-1")
    assert acknowledgement.is_duplicate, "the first one was stored, although nobody said so"
    assert len(await stored(clean_bus, "COMMANDS")) == 1


async def test_a_reconnect_is_told_to_those_who_asked(clean_bus: RunningNats) -> None:
    api = bus_of(clean_bus, "api")
    returned = asyncio.Event()
    api.on_reconnect(returned.set)
    async with started(api):
        await kill(clean_bus)
        await start(clean_bus)
        await asyncio.wait_for(returned.wait(), 15)


async def test_a_stop_during_an_outage_ends(clean_bus: RunningNats) -> None:
    deployer = bus_of(clean_bus, "deployer", graceful_seconds=2)
    recording(deployer)
    await deployer.start(attempts_every=0.05)
    await kill(clean_bus)
    await until_true(lambda: not deployer.broker.connection.is_connected)
    await asyncio.wait_for(deployer.stop(), 15)


async def test_a_start_waits_for_a_consumer_that_is_not_there_yet(clean_bus: RunningNats) -> None:
    async with raw_client(clean_bus, "topology") as client:
        await client.jetstream().delete_consumer("COMMANDS", "deployer_launch")
    deployer = bus_of(clean_bus, "deployer")
    recording(deployer)
    starting = asyncio.create_task(deployer.start(attempts_every=0.05))
    await asyncio.sleep(0.5)
    assert not starting.done()
    await asyncio.to_thread(clean_bus.loop.run, reset_bus(clean_bus))
    await asyncio.wait_for(starting, 10)
    await deployer.stop()


async def test_a_service_whose_key_is_withdrawn_ends_itself_and_blocks_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    signals: list[int] = []
    system = SimpleNamespace(getpid=os.getpid, kill=lambda _pid, signum: signals.append(signum))
    monkeypatch.setattr("stoker_shared.bus.broker.os", system)
    with running_nats(tmp_path / "nats") as server:
        await asyncio.to_thread(server.loop.run, reset_bus(server))
        deployer = bus_of(server, "deployer", graceful_seconds=1)
        recording(deployer)
        await deployer.start(attempts_every=0.05)
        _withdraw(server, tmp_path / "nats" / "nats.conf", "deployer")
        worst = await longest_pause(6.0)
        await asyncio.wait_for(deployer.stop(), 15)
    assert worst < 0.5
    assert signals == [signal.SIGTERM]


def _withdraw(server: RunningNats, config_file: Path, principal: str) -> None:
    config = json.loads(config_file.read_text())
    users = config["accounts"]["APP"]["users"]
    config["accounts"]["APP"]["users"] = [user for user in users if user["nkey"] != public_key(server, principal)]
    config_file.write_text(json.dumps(config))
    assert server.pid is not None
    os.kill(server.pid, signal.SIGHUP)


def public_key(server: RunningNats, principal: str) -> str:
    return nkeys.from_seed(server.seed_files[principal].read_bytes().strip()).public_key.decode()

"""The topology keeper mends what somebody deleted or changed."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from nats.js import JetStreamContext
from nats.js.api import RetentionPolicy
from pydantic import BaseModel

from stoker.stack.standalone import RunningNats
from stoker_shared.bus import MessageContext, consume
from stoker_shared.bus.topology_keeper import TopologyRefused, TopologySettings, ensure_topology, keep
from stoker_shared.tasks import end_tasks
from tests.support.bus import bus_of, kill, raw_client, start, started, until, until_true

LAUNCH = "cmd.deployer.job-0000000000000001.launch"


class Order(BaseModel):
    """A message for these tests."""

    number: int


@asynccontextmanager
async def keeper(server: RunningNats, ready_file: Path | None = None) -> AsyncIterator[None]:
    settings = TopologySettings(
        nats_url=server.url,
        nats_seed_file=server.seed_files["topology"],
        every=timedelta(seconds=0.3),
        ready_file=ready_file,
    )
    task = asyncio.create_task(keep(settings))
    try:
        yield
    finally:
        await end_tasks([task])
        assert task.cancelled()


@asynccontextmanager
async def jetstream_of(server: RunningNats) -> AsyncIterator[JetStreamContext]:
    async with raw_client(server, "topology") as client:
        yield client.jetstream()


async def test_a_deleted_consumer_comes_back_and_delivery_goes_on(clean_bus: RunningNats) -> None:
    seen: list[int] = []

    async def handle(order: Order, _context: MessageContext) -> None:
        seen.append(order.number)

    deployer = bus_of(clean_bus, "deployer")
    consume(deployer, "deployer_launch", Order, handler=handle)
    async with started(deployer), started(bus_of(clean_bus, "api")) as api, jetstream_of(clean_bus) as jetstream:
        await api.publisher.publish(LAUNCH, b'{"number": 1}', message_id="m-1")
        await until_true(lambda: seen == [1])
        await jetstream.delete_consumer("COMMANDS", "deployer_launch")
        await api.publisher.publish(LAUNCH, b'{"number": 2}', message_id="m-2")
        await asyncio.sleep(1)
        assert seen == [1]
        async with keeper(clean_bus):
            await until_true(lambda: seen == [1, 2])


async def test_the_event_loop_stays_free_while_a_consumer_is_missing(clean_bus: RunningNats) -> None:
    async def handle(_order: Order, _context: MessageContext) -> None:
        return

    deployer = bus_of(clean_bus, "deployer")
    consume(deployer, "deployer_launch", Order, handler=handle)
    async with started(deployer), jetstream_of(clean_bus) as jetstream:
        await jetstream.delete_consumer("COMMANDS", "deployer_launch")
        worst, end = 0.0, time.monotonic() + 2
        while (before := time.monotonic()) < end:
            await asyncio.sleep(0.01)
            worst = max(worst, time.monotonic() - before)
    assert worst < 0.5


async def test_a_deleted_stream_comes_back_with_its_consumers(clean_bus: RunningNats, tmp_path: Path) -> None:
    async with jetstream_of(clean_bus) as jetstream:
        await jetstream.delete_stream("COMMANDS")
        async with keeper(clean_bus, tmp_path / "ready"):
            await until_true((tmp_path / "ready").exists)
        names = {info.name for info in await jetstream.consumers_info("COMMANDS")}
    assert names == {"deployer_launch", "deployer_cancel"}


async def test_a_consumer_that_was_changed_is_changed_back_and_forgets_nothing(clean_bus: RunningNats) -> None:
    async with jetstream_of(clean_bus) as jetstream, started(bus_of(clean_bus, "api")) as api:
        wanted = (await jetstream.consumer_info("COMMANDS", "deployer_launch")).config
        await jetstream.add_consumer("COMMANDS", wanted.evolve(ack_wait=3, max_deliver=2, max_ack_pending=1))
        await api.publisher.publish(LAUNCH, b'{"number": 1}', message_id="m-1")
        await ensure_topology(jetstream)
        found = await jetstream.consumer_info("COMMANDS", "deployer_launch")
    assert (found.config.ack_wait, found.config.max_deliver, found.config.max_ack_pending) == (30, -1, 256)
    assert found.num_pending == 1


async def test_a_stream_that_was_changed_is_changed_back_and_keeps_its_messages(clean_bus: RunningNats) -> None:
    async with jetstream_of(clean_bus) as jetstream, started(bus_of(clean_bus, "api")) as api:
        await api.publisher.publish(LAUNCH, b'{"number": 1}', message_id="m-1")
        wanted = (await jetstream.stream_info("COMMANDS")).config
        await jetstream.update_stream(wanted.evolve(max_age=60, max_bytes=10_000, duplicate_window=5))
        await ensure_topology(jetstream)
        found = await jetstream.stream_info("COMMANDS")
    assert (found.config.max_age, found.config.max_bytes, found.config.duplicate_window) == (14 * 86_400, 2**30, 900)
    assert found.state.messages == 1


async def test_one_stream_that_cannot_be_mended_does_not_keep_the_others_from_it(clean_bus: RunningNats) -> None:
    async with jetstream_of(clean_bus) as jetstream:
        commands = (await jetstream.stream_info("COMMANDS")).config
        await jetstream.delete_stream("COMMANDS")
        await jetstream.add_stream(commands.evolve(retention=RetentionPolicy.LIMITS))
        await jetstream.delete_consumer("TELEMETRY", "metrics_store")
        with pytest.raises(TopologyRefused) as refusal:
            await ensure_topology(jetstream)
        assert list(refusal.value.fields) == ["COMMANDS"]
        assert str(refusal.value.fields["COMMANDS"]) in str(refusal.value)
        assert (await jetstream.consumer_info("TELEMETRY", "metrics_store")).name == "metrics_store"


async def test_the_keeper_outlives_an_outage(clean_bus: RunningNats) -> None:
    async with keeper(clean_bus):
        await asyncio.sleep(0.5)
        await kill(clean_bus)
        await asyncio.sleep(1)
        await start(clean_bus)
        async with jetstream_of(clean_bus) as jetstream:
            await jetstream.delete_consumer("COMMANDS", "deployer_cancel")

            async def is_back() -> bool:
                return "deployer_cancel" in {info.name for info in await jetstream.consumers_info("COMMANDS")}

            await until(is_back, within=20)

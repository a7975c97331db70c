"""The broker itself refuses what a principal has no right to."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import nats
import pytest
from nats.aio.client import Client
from nats.errors import NoRespondersError

from stoker.stack.standalone import RunningNats
from stoker_shared.subjects import inbox_prefix


@asynccontextmanager
async def connected(
    server: RunningNats, principal: str, faults: asyncio.Queue[str] | None = None
) -> AsyncIterator[Client]:
    async def note(error: Exception) -> None:
        if faults is not None:
            faults.put_nowait(str(error).lower())

    client = await nats.connect(
        server.url,
        nkeys_seed=str(server.seed_files[principal]),
        inbox_prefix=inbox_prefix(principal).encode(),
        error_cb=note,
        allow_reconnect=False,
    )
    try:
        yield client
    finally:
        await client.close()


async def test_the_api_may_publish_commands_but_no_events(clean_bus: RunningNats) -> None:
    faults: asyncio.Queue[str] = asyncio.Queue()
    async with connected(clean_bus, "api", faults) as client:
        jetstream = client.jetstream(timeout=1)
        stored = await jetstream.publish("cmd.deployer.job-1.launch", b"{}")
        with pytest.raises(TimeoutError):
            await jetstream.publish("evt.job.job-1.completed", b"{}")
        refusal = await asyncio.wait_for(faults.get(), 5)
    assert stored.stream == "COMMANDS"
    assert "permissions violation for publish to" in refusal
    assert "evt.job.job-1" in refusal


async def test_metrics_cannot_delete_a_stream(clean_bus: RunningNats) -> None:
    faults: asyncio.Queue[str] = asyncio.Queue()
    async with connected(clean_bus, "metrics", faults) as client:
        with pytest.raises(TimeoutError):
            await client.jetstream(timeout=1).delete_stream("EVENTS")
        assert "stream.delete.events" in await asyncio.wait_for(faults.get(), 5)
    async with connected(clean_bus, "topology") as keeper:
        assert (await keeper.jetstream().stream_info("EVENTS")).config.name == "EVENTS"


async def test_nobody_hears_the_replies_to_another(clean_bus: RunningNats) -> None:
    faults: asyncio.Queue[str] = asyncio.Queue()
    async with connected(clean_bus, "metrics", faults) as client:
        await client.subscribe(f"{inbox_prefix('deployer')}.>")
        assert "permissions violation for subscription" in await asyncio.wait_for(faults.get(), 5)


async def test_a_stranger_with_a_key_of_his_own_is_turned_away(nats_server: RunningNats) -> None:
    with pytest.raises((OSError, nats.errors.Error)):
        await nats.connect(nats_server.url, allow_reconnect=False, connect_timeout=1)


async def test_what_was_acknowledged_survives_kill_9(clean_bus: RunningNats) -> None:
    async with connected(clean_bus, "api") as client:
        await client.jetstream().publish("cmd.deployer.job-1.launch", b"kept")
    clean_bus.kill()
    assert clean_bus.pid is None
    clean_bus.start()
    async with connected(clean_bus, "topology") as client:
        assert (await client.jetstream().get_last_msg("COMMANDS", "cmd.deployer.job-1.launch")).data == b"kept"


async def test_a_service_may_answer_whoever_asked_it(clean_bus: RunningNats) -> None:
    async with connected(clean_bus, "api") as client:
        with pytest.raises(NoRespondersError):
            await client.request("rpc.deployer.offers", b"{}", timeout=2)

"""Publishing with acknowledgement: duplicates, refusals, limits."""

import asyncio

import pytest
import structlog.testing

from stoker.stack.standalone import RunningNats
from stoker_shared.errors import BrokerUnavailable, MessageInvalid
from tests.support.bus import bus_of, raw_client, started, stored, until_true

LAUNCH = "cmd.deployer.job-0000000000000001.launch"
CANCEL = "cmd.deployer.job-0000000000000001.cancel"


async def test_an_id_counts_once_within_the_window_whatever_its_subject(clean_bus: RunningNats) -> None:
    async with started(bus_of(clean_bus, "api")) as api:
        first = await api.publisher.publish(LAUNCH, b"1", message_id="same")
        second = await api.publisher.publish(LAUNCH, b"2", message_id="same")
        # The broker compares ids per stream: this is why every message has an id of its own.
        third = await api.publisher.publish(CANCEL, b"3", message_id="same")
        other = await api.publisher.publish(LAUNCH, b"4", message_id="other")
    assert (first.is_duplicate, second.is_duplicate, third.is_duplicate, other.is_duplicate) == (
        False,
        True,
        True,
        False,
    )
    assert second.sequence == first.sequence
    assert [message.data for message in await stored(clean_bus, "COMMANDS")] == [b"1", b"4"]


async def test_the_window_is_what_the_topology_says_on_every_stream(clean_bus: RunningNats) -> None:
    async with raw_client(clean_bus, "topology") as client:
        windows = {
            stream.config.name: stream.config.duplicate_window
            for stream in await client.jetstream().streams_info()
            if not str(stream.config.name).startswith("KV_")  # a bucket keeps a key's last word, whatever comes twice
        }
    assert windows == dict.fromkeys(("COMMANDS", "EVENTS", "TELEMETRY", "DEAD"), 900.0)


async def test_a_forbidden_publish_is_refused_and_logged(clean_bus: RunningNats) -> None:
    async with started(bus_of(clean_bus, "api")) as api:
        api.publisher._timeout = 1.0
        with structlog.testing.capture_logs() as logs:
            with pytest.raises(BrokerUnavailable):
                await api.publisher.publish("evt.job.job-0000000000000001.completed", b"{}", message_id="forged")
            await until_true(lambda: any("permissions violation" in str(line.get("error")).lower() for line in logs))
        # The connection is still good.
        await api.publisher.publish(LAUNCH, b"{}", message_id="m-1")
    assert [line["log_level"] for line in logs if line["event"] == "broker error"] == ["error"]
    assert not await stored(clean_bus, "EVENTS")


async def test_a_message_without_a_stream_is_refused(clean_bus: RunningNats) -> None:
    async with raw_client(clean_bus, "topology") as client:
        await client.jetstream().delete_stream("COMMANDS")
    async with started(bus_of(clean_bus, "api")) as api:
        with pytest.raises(BrokerUnavailable, match="NoStreamResponse"):
            await api.publisher.publish(LAUNCH, b"{}", message_id="m-1")
        with pytest.raises(BrokerUnavailable):
            await api.publisher.stream_state("COMMANDS")


async def test_a_full_command_stream_refuses_new_commands_instead_of_forgetting_old_ones(
    clean_bus: RunningNats,
) -> None:
    async with raw_client(clean_bus, "topology") as client:
        jetstream = client.jetstream()
        config = (await jetstream.stream_info("COMMANDS")).config
        await jetstream.update_stream(config.evolve(max_bytes=2000))
    async with started(bus_of(clean_bus, "api")) as api:
        await api.publisher.publish(LAUNCH, b"x" * 1500, message_id="m-1")
        with pytest.raises(BrokerUnavailable):
            await api.publisher.publish(LAUNCH, b"x" * 1500, message_id="m-2")
    assert len(await stored(clean_bus, "COMMANDS")) == 1


async def test_a_message_larger_than_the_broker_takes_is_no_outage(clean_bus: RunningNats) -> None:
    async with started(bus_of(clean_bus, "api")) as api:
        with pytest.raises(MessageInvalid, match="2000000 bytes"):
            await api.publisher.publish(LAUNCH, b"x" * 2_000_000, message_id="m-1")
        assert await api.is_ready()


async def test_many_at_once_all_land_once(clean_bus: RunningNats) -> None:
    async with started(bus_of(clean_bus, "api")) as api:
        await asyncio.gather(
            *(api.publisher.publish(LAUNCH, b"%d" % (n % 100), message_id=f"m-{n % 100}") for n in range(200))
        )
    assert len(await stored(clean_bus, "COMMANDS")) == 100

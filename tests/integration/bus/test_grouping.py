"""Messages in groups: each is stored once, in order, and the group's fate is told to each that waits."""

import asyncio
from typing import Any, cast

import pytest

from stoker.stack.standalone import RunningNats
from stoker_shared.bus import Bus
from stoker_shared.errors import BrokerUnavailable, MessageInvalid
from tests.support.bus import bus_of, kill, start, started, stored

SUBJECT = "tel.job-00000000000000aa.metrics"


async def test_what_comes_at_once_is_stored_in_order_each_once(clean_bus: RunningNats) -> None:
    async with started(bus_of(clean_bus, "metrics")) as bus:
        publisher = bus.grouping_publisher
        await asyncio.gather(*(publisher.publish(SUBJECT, b"%d" % n, message_id=f"m{n}") for n in range(300)))
    messages = await stored(clean_bus, "TELEMETRY")
    assert sorted(int(message.data or b"") for message in messages) == list(range(300))
    headers = [message.headers or {} for message in messages]
    assert len({header["Nats-Batch-Id"] for header in headers if "Nats-Batch-Id" in header}) < 100, (
        "they went in groups"
    )


async def test_a_group_with_a_message_that_is_there_already_stores_the_others_once(clean_bus: RunningNats) -> None:
    async with started(bus_of(clean_bus, "metrics")) as bus:
        await bus.publisher.publish(SUBJECT, b"3", message_id="m3")
        publisher = bus.grouping_publisher
        await asyncio.gather(*(publisher.publish(SUBJECT, b"%d" % n, message_id=f"m{n}") for n in range(20)))
        await asyncio.gather(*(publisher.publish(SUBJECT, b"%d" % n, message_id=f"m{n}") for n in range(20)))
    messages = await stored(clean_bus, "TELEMETRY")
    assert sorted(int(message.data or b"") for message in messages) == list(range(20))


async def test_without_the_broker_each_is_told(clean_bus: RunningNats) -> None:
    async with started(bus_of(clean_bus, "metrics")) as bus:
        publisher = bus.grouping_publisher
        await kill(clean_bus)
        outcomes = await asyncio.gather(
            *(publisher.publish(SUBJECT, b"%d" % n, message_id=f"m{n}") for n in range(5)), return_exceptions=True
        )
        assert [type(outcome) for outcome in outcomes] == [BrokerUnavailable] * 5
        await start(clean_bus)


async def test_a_message_that_cannot_be_sent_fails_alone(clean_bus: RunningNats) -> None:
    unsendable = cast("dict[str, str]", {"Header": None})
    async with started(bus_of(clean_bus, "metrics")) as bus:
        async with asyncio.timeout(10):
            outcomes = await _publish_three(bus, headers=unsendable)
    assert [type(outcome) for outcome in outcomes] == [type(None), AttributeError, type(None)]
    assert [message.data for message in await stored(clean_bus, "TELEMETRY")] == [b"0", b"2"]


async def test_a_message_larger_than_the_broker_takes_fails_alone(clean_bus: RunningNats) -> None:
    async with started(bus_of(clean_bus, "metrics")) as bus:
        # As of a broker whose operator allows less than we do.
        bus._client()._max_payload = 1_000
        outcomes = await _publish_three(bus, payload=b"x" * 2_000)
    assert [type(outcome) for outcome in outcomes] == [type(None), MessageInvalid, type(None)]
    assert [message.data for message in await stored(clean_bus, "TELEMETRY")] == [b"0", b"2"]


async def _publish_three(bus: Bus, *, payload: bytes = b"1", headers: dict[str, str] | None = None) -> list[Any]:
    publish = bus.grouping_publisher.publish
    return await asyncio.gather(
        publish(SUBJECT, b"0", message_id="m0"),
        publish(SUBJECT, payload, message_id="m1", headers=headers),
        publish(SUBJECT, b"2", message_id="m2"),
        return_exceptions=True,
    )


async def test_how_long_the_oldest_waits_is_known(clean_bus: RunningNats) -> None:
    async with started(bus_of(clean_bus, "metrics")) as bus:
        publisher = bus.grouping_publisher
        assert publisher.longest_wait.total_seconds() == 0
        waiting = asyncio.create_task(publisher.publish(SUBJECT, b"1", message_id="m1"))
        await asyncio.sleep(0)
        assert publisher.longest_wait.total_seconds() > 0
        await waiting
        assert publisher.longest_wait.total_seconds() == 0


@pytest.mark.parametrize("size", [600_000])
async def test_large_messages_do_not_make_one_large_group(clean_bus: RunningNats, size: int) -> None:
    async with started(bus_of(clean_bus, "metrics")) as bus:
        publisher = bus.grouping_publisher
        await asyncio.gather(*(publisher.publish(SUBJECT, b"x" * size, message_id=f"m{n}") for n in range(6)))
    assert len(await stored(clean_bus, "TELEMETRY")) == 6

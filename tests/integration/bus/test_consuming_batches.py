"""Messages in batches: what waits goes together, what fails goes alone, what is not begun goes to others."""

import asyncio
import json
import time
from collections.abc import Sequence
from datetime import timedelta

import pytest
from pydantic import BaseModel

from stoker.stack.standalone import RunningNats
from stoker_shared.bus import Bus, Delivery, consume_batches, pulling, retry
from stoker_shared.errors import ServiceUnavailable
from stoker_shared.subjects import inbox_prefix
from stoker_shared.topology import consumer
from tests.support.bus import bus_of, kill, raw_client, start, started, stored, until, until_true

LAUNCH = "cmd.deployer.job-0000000000000001.launch"


class Order(BaseModel):
    """A message for these tests."""

    number: int


class Recorder:
    """Keeps what it is handed; fails for numbers as told, and waits if it is to."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.done: list[int] = []
        self.bad: dict[int, Exception] = {}
        self.may_go_on = asyncio.Event()
        self.may_go_on.set()

    async def __call__(self, batch: Sequence[Delivery]) -> None:
        numbers = [delivery.message.number for delivery in batch]
        self.batches.append(numbers)
        await self.may_go_on.wait()
        for number in numbers:
            if number in self.bad:
                raise self.bad[number]
        self.done += numbers


def consuming(server: RunningNats, handler: Recorder, *, limit: int = 50, graceful_seconds: float = 20.0) -> Bus:
    bus = bus_of(server, "deployer", graceful_seconds=graceful_seconds)
    consume_batches(bus, "deployer_launch", Order, handler, limit=limit)
    return bus


async def tell(server: RunningNats, *bodies: object) -> None:
    async with started(bus_of(server, "api")) as api:
        for place, body in enumerate(bodies):
            payload = body if isinstance(body, bytes) else json.dumps({"number": body}).encode()
            identifier = f"m-{place}-{hash(payload)}"
            await api.publisher.publish(LAUNCH, payload, message_id=identifier, headers={"traceparent": "kept"})


async def is_empty(server: RunningNats) -> bool:
    async with raw_client(server, "topology") as client:
        return (await client.jetstream().stream_info("COMMANDS")).state.messages == 0


async def dead_bodies(server: RunningNats) -> list[bytes]:
    return [message.data or b"" for message in await stored(server, "DEAD")]


async def test_what_waits_comes_together_and_is_acknowledged(clean_bus: RunningNats) -> None:
    handler = Recorder()
    await tell(clean_bus, *range(120))
    async with started(consuming(clean_bus, handler)):
        await until(lambda: is_empty(clean_bus))
    assert sorted(handler.done) == list(range(120))
    assert max(map(len, handler.batches)) > 1
    assert all(len(batch) <= 50 for batch in handler.batches)


async def test_what_comes_while_a_batch_is_handled_makes_the_next(clean_bus: RunningNats) -> None:
    handler = Recorder()
    handler.may_go_on.clear()
    async with started(consuming(clean_bus, handler)):
        await tell(clean_bus, 0)
        await until_true(lambda: handler.batches == [[0]])
        await tell(clean_bus, *range(1, 30))
        await asyncio.sleep(0.2)
        assert len(handler.batches) == 1, "one batch at a time"
        handler.may_go_on.set()
        await until(lambda: is_empty(clean_bus))
    assert handler.batches == [[0], list(range(1, 30))]


async def test_after_a_batch_that_took_long_the_next_one_gathers(clean_bus: RunningNats) -> None:
    handler = Recorder()
    handler.may_go_on.clear()
    async with started(consuming(clean_bus, handler, limit=5)), started(bus_of(clean_bus, "api")) as api:

        async def tell_one(number: int) -> None:
            await api.publisher.publish(LAUNCH, json.dumps({"number": number}).encode(), message_id=f"m-{number}")

        await tell_one(0)
        await until_true(lambda: handler.batches == [[0]])
        await asyncio.sleep(0.5)  # allowed: this is how long the batch takes
        handler.may_go_on.set()
        for number in range(1, 6):
            await tell_one(number)
        await until(lambda: is_empty(clean_bus))
    assert handler.batches == [[0], [1, 2, 3, 4, 5]]


async def test_as_many_bytes_as_a_batch_may_have_are_not_gathered_for(clean_bus: RunningNats) -> None:
    pull = pulling.Pull(consumer("deployer_launch"), limit=50)
    async with raw_client(clean_bus, "deployer") as client, started(bus_of(clean_bus, "api")) as api:
        await pull.start(client, inbox_prefix=inbox_prefix("deployer"))
        for number in range(4):
            await api.publisher.publish(LAUNCH, bytes(400_000), message_id=f"m-{number}")
        async with asyncio.timeout(60):
            taken = await pull.batch(not_before=asyncio.get_running_loop().time() + 3600)
        assert [len(message.data) for message in taken] == [400_000] * 2, "no more than fit into a batch"
        await pull.stop()


async def test_the_end_of_one_request_is_no_refusal_of_the_next(
    clean_bus: RunningNats, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The broker tells that a request has brought all, often when the next one is on its way already.
    refusals: list[str] = []
    monkeypatch.setattr(pulling.logger, "info", lambda event, **_: refusals.append(event))
    handler = Recorder()
    await tell(clean_bus, *range(200))
    async with started(consuming(clean_bus, handler, limit=5)):
        await until(lambda: is_empty(clean_bus))
    assert len(handler.batches) >= 40
    assert refusals == []


async def test_a_quiet_hour_costs_no_message(clean_bus: RunningNats, monkeypatch: pytest.MonkeyPatch) -> None:
    # Requests that expire with nothing, again and again.
    monkeypatch.setattr(pulling, "EXPIRES", timedelta(seconds=0.2))
    monkeypatch.setattr(pulling, "HEARTBEAT", timedelta(seconds=0.1))
    handler = Recorder()
    async with started(consuming(clean_bus, handler)):
        for number in range(4):
            await asyncio.sleep(0.35)
            await tell(clean_bus, number)
        await until(lambda: is_empty(clean_bus))
    assert handler.done == [0, 1, 2, 3]


async def test_one_bad_message_goes_to_the_dead_letters_alone(clean_bus: RunningNats) -> None:
    handler = Recorder()
    handler.bad = {7: ValueError("seven"), 23: ValueError("twenty-three")}
    await tell(clean_bus, *range(32))
    async with started(consuming(clean_bus, handler)):
        await until(lambda: is_empty(clean_bus))
    assert sorted(handler.done) == [number for number in range(32) if number not in handler.bad]
    dead = await stored(clean_bus, "DEAD")
    assert sorted(json.loads(message.data or b"")["number"] for message in dead) == [7, 23]
    assert {(message.headers or {})["traceparent"] for message in dead} == {"kept"}
    reasons = {(message.headers or {})["Stoker-Dead-Reason"] for message in dead}
    assert reasons == {"ValueError: seven", "ValueError: twenty-three"}


async def test_what_nobody_can_decode_does_not_hold_up_the_others(clean_bus: RunningNats) -> None:
    handler = Recorder()
    await tell(clean_bus, 1, b"{not json", 2, b'{"number": "three"}', b"", 4)
    async with started(consuming(clean_bus, handler)):
        await until(lambda: is_empty(clean_bus))
    assert sorted(handler.done) == [1, 2, 4]
    assert sorted(await dead_bodies(clean_bus)) == [b"", b'{"number": "three"}', b"{not json"]


async def test_an_outage_brings_the_whole_batch_again_after_a_delay(clean_bus: RunningNats) -> None:
    handler = Recorder()
    handler.bad = {5: ServiceUnavailable("PostgreSQL", "test")}
    await tell(clean_bus, *range(10))
    async with started(consuming(clean_bus, handler)):
        await until_true(lambda: handler.batches)
        began = time.monotonic()
        handler.bad.clear()
        await until(lambda: is_empty(clean_bus))
        assert time.monotonic() - began >= 0.8 * retry.BASE_DELAY_SECONDS
    assert sorted(handler.done) == list(range(10))
    assert not await stored(clean_bus, "DEAD")


async def test_after_the_last_delivery_a_message_is_a_dead_letter(
    clean_bus: RunningNats, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(retry._MAX_DELIVER, ("COMMANDS", "deployer_launch"), 3)
    handler = Recorder()
    handler.bad = {5: ServiceUnavailable("PostgreSQL", "still away")}
    await tell(clean_bus, 5)
    async with started(consuming(clean_bus, handler)):
        await until(lambda: is_empty(clean_bus))
    assert handler.batches == [[5], [5], [5]]
    assert await dead_bodies(clean_bus) == [b'{"number": 5}']


async def test_a_stop_lets_the_batch_end_and_gives_the_rest_to_others_at_once(clean_bus: RunningNats) -> None:
    handler, other = Recorder(), Recorder()
    handler.may_go_on.clear()
    first = consuming(clean_bus, handler, limit=3)
    await first.start(attempts_every=0.05)
    await tell(clean_bus, *range(6))
    await until_true(lambda: handler.batches)
    await asyncio.sleep(0.2)  # the others arrive and wait
    stopping = asyncio.create_task(first.stop())
    await asyncio.sleep(0.2)
    assert not stopping.done()
    handler.may_go_on.set()
    await stopping
    began = time.monotonic()
    async with started(consuming(clean_bus, other)):
        await until(lambda: is_empty(clean_bus))
    assert time.monotonic() - began < 10, "not after ack_wait"
    assert len(handler.batches) == 1
    assert sorted(handler.done + other.done) == list(range(6))


async def test_a_handler_that_hangs_is_left_behind_after_the_graceful_time(clean_bus: RunningNats) -> None:
    handler = Recorder()
    handler.may_go_on.clear()
    bus = consuming(clean_bus, handler, graceful_seconds=0.5)
    await bus.start(attempts_every=0.05)
    await tell(clean_bus, 1)
    await until_true(lambda: handler.batches)
    async with asyncio.timeout(5):
        await bus.stop()
    assert not handler.done
    assert not await is_empty(clean_bus)


async def test_consuming_goes_on_after_a_restart_of_the_broker(clean_bus: RunningNats) -> None:
    handler = Recorder()
    bus = consuming(clean_bus, handler)
    async with started(bus):
        await tell(clean_bus, 1)
        await until_true(lambda: handler.done == [1])
        for number in (2, 3):
            await kill(clean_bus)
            await until(lambda: _is_down(bus))
            await start(clean_bus)
            await until(bus.is_ready)
            await tell(clean_bus, number)
            await until_true(lambda number=number: number in handler.done, within=20)


async def test_a_consumer_that_is_deleted_and_made_anew_is_asked_again(clean_bus: RunningNats) -> None:
    handler = Recorder()
    async with started(consuming(clean_bus, handler)), raw_client(clean_bus, "topology") as client:
        jetstream = client.jetstream()
        config = (await jetstream.consumer_info("COMMANDS", "deployer_launch")).config
        await jetstream.delete_consumer("COMMANDS", "deployer_launch")
        cpu_before = time.process_time()
        await asyncio.sleep(2)
        assert time.process_time() - cpu_before < 1, "something spins"
        await jetstream.add_consumer("COMMANDS", config)
        await tell(clean_bus, 1)
        await until_true(lambda: handler.done == [1], within=20)


async def test_large_messages_are_cut_into_batches_by_their_bytes(clean_bus: RunningNats) -> None:
    handler = Recorder()
    large = [json.dumps({"number": number, "filling": "x" * 600_000}).encode() for number in range(12)]
    await tell(clean_bus, *large)
    async with started(consuming(clean_bus, handler)):
        await until(lambda: is_empty(clean_bus))
    assert sorted(handler.done) == list(range(12))
    assert {len(batch) for batch in handler.batches} == {1}


async def _is_down(bus: Bus) -> bool:
    return not await bus.is_ready()

"""What happens to a message whose handler fails, hangs, or dies."""

import asyncio
import itertools
import time

import pytest
from nats.js.api import ConsumerConfig
from pydantic import BaseModel

from stoker.stack.standalone import RunningNats
from stoker_shared.bus import MessageContext, consume, retry
from stoker_shared.bus.flushing import until_server_has_read
from stoker_shared.errors import ServiceUnavailable
from tests.support.bus import bus_of, raw_client, started, stored, until, until_true

LAUNCH = "cmd.deployer.job-0000000000000001.launch"


class Order(BaseModel):
    """A message for these tests."""

    number: int


class Recorder:
    """A handler that fails as told, and remembers when it was called."""

    def __init__(self, *errors: Exception | None) -> None:
        self._errors = list(errors)
        self.calls: list[tuple[float, int]] = []
        self.contexts: list[MessageContext] = []

    async def __call__(self, order: Order, context: MessageContext) -> None:
        self.calls.append((time.monotonic(), order.number))
        self.contexts.append(context)
        error = self._errors.pop(0) if self._errors else None
        if error is not None:
            raise error

    @property
    def gaps(self) -> list[float]:
        moments = [moment for moment, _ in self.calls]
        return [later - earlier for earlier, later in itertools.pairwise(moments)]


async def tell(server: RunningNats, payload: bytes, *, subject: str = LAUNCH, message_id: str = "m-1") -> None:
    async with started(bus_of(server, "api")) as api:
        await api.publisher.publish(subject, payload, message_id=message_id, headers={"traceparent": "kept"})


async def is_empty(server: RunningNats, stream: str) -> bool:
    async with raw_client(server, "topology") as client:
        return (await client.jetstream().stream_info(stream)).state.messages == 0


async def test_a_failing_handler_is_called_again_after_a_growing_delay(clean_bus: RunningNats) -> None:
    away = ServiceUnavailable("PostgreSQL", "test")
    handler = Recorder(away, away, away, None)
    deployer = bus_of(clean_bus, "deployer")
    consume(deployer, "deployer_launch", Order, handler)
    async with started(deployer):
        await tell(clean_bus, b'{"number": 7}')
        await until_true(lambda: len(handler.calls) == 4)
        await until(lambda: is_empty(clean_bus, "COMMANDS"))
    # 0.25, 0.5, 1 s, each a fifth less at most; without a delay there would be thousands of calls a second.
    assert all(gap >= 0.8 * expected for gap, expected in zip(handler.gaps, (0.25, 0.5, 1.0), strict=True))
    assert [context.delivered for context in handler.contexts] == [1, 2, 3, 4]
    assert len({context.received_at for context in handler.contexts}) == 1, "a redelivery keeps the time of storing"
    assert not await stored(clean_bus, "DEAD")


async def test_an_error_that_no_retry_mends_goes_to_the_dead_letters_with_body_and_reason(
    clean_bus: RunningNats,
) -> None:
    handler = Recorder(ValueError("the gearbox\nis broken"))
    deployer = bus_of(clean_bus, "deployer")
    consume(deployer, "deployer_launch", Order, handler)
    async with started(deployer):
        await tell(clean_bus, b'{"number": 7}')
        (dead,) = await until(lambda: stored(clean_bus, "DEAD"))
        await until(lambda: is_empty(clean_bus, "COMMANDS"))
    assert len(handler.calls) == 1
    assert dead.subject == f"dead.{LAUNCH}"
    assert dead.data == b'{"number": 7}'
    assert dead.headers is not None
    assert dead.headers["Stoker-Dead-Reason"] == "ValueError: the gearbox is broken"
    assert dead.headers["traceparent"] == "kept"


@pytest.mark.parametrize("body", [b"{not json", b"\xff\xfe", b'{"number": "seven"}', b"", b"[]"])
async def test_what_nobody_can_decode_goes_to_the_dead_letters(clean_bus: RunningNats, body: bytes) -> None:
    handler = Recorder()
    deployer = bus_of(clean_bus, "deployer")
    consume(deployer, "deployer_launch", Order, handler)
    async with started(deployer):
        await tell(clean_bus, body)
        await tell(clean_bus, b'{"number": 2}', message_id="m-2")
        (dead,) = await until(lambda: stored(clean_bus, "DEAD"))
        await until(lambda: is_empty(clean_bus, "COMMANDS"))
    assert (dead.data or b"") == body
    assert dead.headers is not None
    assert dead.headers["Stoker-Dead-Reason"].startswith("MessageInvalid")
    assert [number for _, number in handler.calls] == [2], "the next message is handled"


async def test_after_the_last_delivery_the_message_is_a_dead_letter(
    clean_bus: RunningNats, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(retry._MAX_DELIVER, ("COMMANDS", "deployer_launch"), 3)
    handler = Recorder(*[ServiceUnavailable("PostgreSQL", "still away")] * 10)
    deployer = bus_of(clean_bus, "deployer")
    consume(deployer, "deployer_launch", Order, handler)
    async with started(deployer):
        await tell(clean_bus, b'{"number": 7}')
        (dead,) = await until(lambda: stored(clean_bus, "DEAD"))
        await until(lambda: is_empty(clean_bus, "COMMANDS"))
    assert len(handler.calls) == 3
    assert dead.headers is not None
    assert "still away" in dead.headers["Stoker-Dead-Reason"]


async def test_a_message_that_kills_its_consumer_each_time_ends_in_the_dead_letters(
    clean_bus: RunningNats, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(retry._MAX_DELIVER, ("COMMANDS", "deployer_launch"), 3)
    await tell(clean_bus, b'{"number": 7}')
    async with raw_client(clean_bus, "deployer") as client:  # three lives of a process that dies of it
        pulling = await client.jetstream().pull_subscribe_bind(
            consumer="deployer_launch", stream="COMMANDS", inbox_prefix=b"_INBOX_deployer."
        )
        for _ in range(3):
            (message,) = await pulling.fetch(1, timeout=5)
            await message.nak()
        await until_server_has_read(client)
    handler = Recorder()
    deployer = bus_of(clean_bus, "deployer")
    consume(deployer, "deployer_launch", Order, handler)
    async with started(deployer):
        (dead,) = await until(lambda: stored(clean_bus, "DEAD"))
        await until(lambda: is_empty(clean_bus, "COMMANDS"))
    assert handler.calls == []
    assert dead.data == b'{"number": 7}'
    assert dead.headers is not None
    assert "DeliveriesExhausted" in dead.headers["Stoker-Dead-Reason"]


async def test_a_dead_letter_that_cannot_be_kept_leaves_the_message_where_it_is(clean_bus: RunningNats) -> None:
    handler = Recorder(ValueError("first"), ValueError("second"))
    deployer = bus_of(clean_bus, "deployer")
    consume(deployer, "deployer_launch", Order, handler)
    async with raw_client(clean_bus, "topology") as client, started(deployer):
        await client.jetstream().delete_stream("DEAD")
        await tell(clean_bus, b'{"number": 7}')
        await until_true(lambda: len(handler.calls) == 1)
        await asyncio.sleep(0.3)
        assert not await is_empty(clean_bus, "COMMANDS"), "rejecting it would have lost the body"


async def test_a_stop_waits_for_running_handlers(clean_bus: RunningNats) -> None:
    entered, may_end, ended = asyncio.Event(), asyncio.Event(), []

    async def slow(order: Order, _context: MessageContext) -> None:
        entered.set()
        await may_end.wait()
        ended.append(order.number)

    deployer = bus_of(clean_bus, "deployer")
    consume(deployer, "deployer_launch", Order, slow)
    await deployer.start(attempts_every=0.05)
    await tell(clean_bus, b'{"number": 7}')
    await asyncio.wait_for(entered.wait(), 5)
    stopping = asyncio.create_task(deployer.stop())
    await asyncio.sleep(0.5)
    assert not stopping.done()
    may_end.set()
    await asyncio.wait_for(stopping, 10)
    assert ended == [7]
    assert await is_empty(clean_bus, "COMMANDS"), "it was acknowledged before the connection closed"


async def test_a_handler_that_hangs_is_left_behind_after_the_graceful_time_and_its_message_comes_again(
    clean_bus: RunningNats,
) -> None:
    async with raw_client(clean_bus, "topology") as client:
        await client.jetstream().add_consumer(
            "COMMANDS",
            ConsumerConfig(durable_name="deployer_launch", filter_subject="cmd.deployer.*.launch", ack_wait=1),
        )
    entered = asyncio.Event()

    async def hang(_order: Order, _context: MessageContext) -> None:
        entered.set()
        await asyncio.sleep(600)

    first = bus_of(clean_bus, "deployer", graceful_seconds=0.5)
    consume(first, "deployer_launch", Order, hang)
    await first.start(attempts_every=0.05)
    await tell(clean_bus, b'{"number": 7}')
    await asyncio.wait_for(entered.wait(), 5)
    await asyncio.wait_for(first.stop(), 5)
    handler = Recorder()
    second = bus_of(clean_bus, "deployer")
    consume(second, "deployer_launch", Order, handler)
    async with started(second):
        await until_true(lambda: [number for _, number in handler.calls] == [7])


async def test_one_slow_handler_does_not_hold_up_the_others(clean_bus: RunningNats) -> None:
    may_end, seen = asyncio.Event(), []

    async def handle(order: Order, _context: MessageContext) -> None:
        if order.number == 0:
            await may_end.wait()
        seen.append(order.number)

    deployer = bus_of(clean_bus, "deployer")
    consume(deployer, "deployer_launch", Order, handle, workers=4)
    async with started(deployer), started(bus_of(clean_bus, "api")) as api:
        for number in range(20):
            await api.publisher.publish(LAUNCH, b'{"number": %d}' % number, message_id=f"m-{number}")
        await until_true(lambda: len(seen) == 19)
        may_end.set()
        await until_true(lambda: sorted(seen) == list(range(20)))

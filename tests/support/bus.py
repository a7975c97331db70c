"""Buses of principals, and a look at what the broker holds."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

import nats
from nats.aio.client import Client
from nats.js.api import RawStreamMsg
from nats.js.errors import NotFoundError

from stoker.stack.standalone import RunningNats
from stoker_shared.bus import Bus, BusSettings
from stoker_shared.subjects import inbox_prefix

ResultT = TypeVar("ResultT")


def bus_of(server: RunningNats, service: str, *, graceful_seconds: float = 20.0) -> Bus:
    """A bus that is not started yet."""
    settings = BusSettings(
        url=server.url,
        service=service,
        seed_file=server.seed_files[service],
        graceful_timeout_seconds=graceful_seconds,
    )
    return Bus(settings)


@asynccontextmanager
async def started(bus: Bus) -> AsyncIterator[Bus]:
    """The bus, started; stopped at the end."""
    await bus.start(attempts_every=0.05)
    try:
        yield bus
    finally:
        await bus.stop()


@asynccontextmanager
async def raw_client(server: RunningNats, principal: str) -> AsyncIterator[Client]:
    """A bare client with the rights of a principal."""
    client = await nats.connect(
        server.url,
        nkeys_seed=str(server.seed_files[principal]),
        inbox_prefix=inbox_prefix(principal).encode(),
        max_reconnect_attempts=-1,
        reconnect_time_wait=0.2,
    )
    try:
        yield client
    finally:
        await client.close()


async def stored(server: RunningNats, stream: str) -> list[RawStreamMsg]:
    """Every message of a stream, oldest first."""
    async with raw_client(server, "topology") as client:
        jetstream = client.jetstream()
        state = (await jetstream.stream_info(stream)).state
        found = []
        for sequence in range(max(1, state.first_seq), state.last_seq + 1):
            try:
                found.append(await jetstream.get_msg(stream, sequence))
            except NotFoundError:  # acknowledged in a work queue
                continue
        return found


# Longer than `ack_wait`: what was on its way to a consumer when the broker was killed comes again only after that.
PATIENCE = 60.0


async def until(question: Callable[[], Awaitable[ResultT]], *, within: float = PATIENCE, what: str = "") -> ResultT:
    """Ask again until the answer is true; returns it."""
    end = time.monotonic() + within
    while True:
        # A question that hangs must not hang the test.
        async with asyncio.timeout(within + PATIENCE):
            answer = await question()
        if answer:
            return answer
        if time.monotonic() > end:
            raise AssertionError(f"not within {within} s: {what or question}; the last answer was {answer!r}")
        await asyncio.sleep(0.05)


async def until_true(check: Callable[[], object], *, within: float = PATIENCE, what: str = "") -> None:
    """The same for a plain function."""

    async def ask() -> object:
        return check()

    await until(ask, within=within, what=what)


async def kill(server: RunningNats) -> None:
    """SIGKILL to the broker, without blocking the loop."""
    await asyncio.to_thread(server.kill)


async def start(server: RunningNats) -> None:
    """Start it again."""
    await asyncio.to_thread(server.start)

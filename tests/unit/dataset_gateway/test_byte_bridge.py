"""The bridge between the event loop and a thread that reads."""

import asyncio
import os

import pytest

from stoker_dataset_gateway.storage.byte_bridge import BridgeAborted, ByteBridge


async def test_the_reader_gets_all_bytes_in_exactly_the_sizes_that_it_asks_for() -> None:
    bridge = ByteBridge(capacity=2)
    content = os.urandom(10_000)

    def read() -> list[bytes]:
        pieces = []
        while piece := bridge.read(999):
            pieces.append(piece)
        return pieces

    reading = asyncio.create_task(asyncio.to_thread(read))
    for start in range(0, len(content), 70):
        await bridge.offer(content[start : start + 70])
    bridge.finish()
    pieces = await reading
    assert b"".join(pieces) == content
    assert {len(piece) for piece in pieces[:-1]} == {999}


async def test_a_slow_reader_holds_the_sender_back() -> None:
    bridge = ByteBridge(capacity=3)
    for _ in range(3):
        await bridge.offer(b"x")
    waiting = asyncio.create_task(bridge.offer(b"y"))
    await asyncio.sleep(0)
    assert not waiting.done()
    assert await asyncio.to_thread(bridge.read, 1) == b"x"
    await waiting


async def test_an_aborted_source_is_never_taken_for_a_whole_one() -> None:
    bridge = ByteBridge()
    await bridge.offer(b"abc")
    bridge.abort()
    with pytest.raises(BridgeAborted):
        await asyncio.to_thread(bridge.read, 10)

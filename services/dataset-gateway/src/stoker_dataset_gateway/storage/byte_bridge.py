"""A bounded bridge from an asynchronous source of bytes to a thread that reads them like a file."""

import asyncio
import queue


class BridgeAborted(Exception):
    """The source broke off; the reader must not take what it has for the whole."""


class ByteBridge:
    """The event loop `offer`s blocks, a thread `read`s them. At most `capacity` blocks wait in between."""

    def __init__(self, *, capacity: int = 4) -> None:
        self._loop = asyncio.get_running_loop()
        self._room = asyncio.Semaphore(capacity)
        self._blocks: queue.SimpleQueue[bytes | BridgeAborted | None] = queue.SimpleQueue()
        self._held = bytearray()
        self._is_over = False

    async def offer(self, block: bytes) -> None:
        """Hand over a block; waits while the reader is behind."""
        await self._room.acquire()
        self._blocks.put(block)

    def finish(self) -> None:
        """All blocks have been handed over, and they are good."""
        self._blocks.put(None)

    def abort(self) -> None:
        """There is no whole: the reader gets `BridgeAborted`."""
        self._blocks.put(BridgeAborted())

    def read(self, size: int) -> bytes:
        """Exactly `size` bytes, fewer only at the end. Called by the thread."""
        while len(self._held) < size and not self._is_over:
            block = self._blocks.get()
            if isinstance(block, BridgeAborted):
                raise block
            if block is None:
                self._is_over = True
                break
            self._held += block
            self._loop.call_soon_threadsafe(self._room.release)
        taken = bytes(memoryview(self._held)[:size])
        del self._held[:size]
        return taken

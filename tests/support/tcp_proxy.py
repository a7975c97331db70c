"""A TCP proxy that breaks the network between two processes on demand."""

import asyncio
import contextlib
from typing import Literal

from stoker.stack.standalone import LoopThread
from tests.support.ports import free_port

# pass: nothing. slow: each piece comes late. stalled: nothing moves, and nothing is lost when it moves again.
# reset: connections break and new ones are refused. half-open: what is sent is swallowed, nobody learns of it; the
# connections of that time are dead afterwards.
Weather = Literal["pass", "slow", "stalled", "reset", "half-open"]

SLOW_SECONDS = 0.5
_PIECE_BYTES = 64 * 1024


class TcpProxy:
    """Forwards `port` to `target` (host, port), which may be set later. Drive it from any thread."""

    def __init__(self, loop: LoopThread, *, target: tuple[str, int] | None = None) -> None:
        self.port = free_port()
        self.target = target
        self.connections = 0
        self._weather: Weather = "pass"
        self._moving: asyncio.Event
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = loop
        loop.run(self._start())

    def set(self, weather: Weather) -> None:
        """From now on."""
        self._loop.run(self._set(weather))

    def close(self) -> None:
        """Break everything and stop listening."""
        self._loop.run(self._close())

    async def _start(self) -> None:
        self._moving = asyncio.Event()
        self._moving.set()
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    async def _set(self, weather: Weather) -> None:
        was, self._weather = self._weather, weather
        if weather == "reset" or was == "half-open":
            self._break_all()
        if weather in ("stalled", "half-open"):
            self._moving.clear()
        else:
            self._moving.set()

    async def _close(self) -> None:
        self._server.close()
        self._break_all()
        for task in self._tasks:
            task.cancel()

    def _break_all(self) -> None:
        for writer in list(self._writers):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        if self._weather == "reset" or self.target is None:
            writer.transport.abort()
            return
        self._writers.add(writer)
        try:
            await self._moving.wait()
            far_reader, far_writer = await asyncio.open_connection(*self.target)
        except OSError:
            writer.transport.abort()
            self._writers.discard(writer)
            return
        self._writers.add(far_writer)
        for source, sink in ((reader, far_writer), (far_reader, writer)):
            task = asyncio.create_task(self._pump(source, sink))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        try:
            while piece := await source.read(_PIECE_BYTES):
                if self._weather == "slow":
                    await asyncio.sleep(SLOW_SECONDS)
                if self._weather == "half-open":
                    continue
                await self._moving.wait()
                sink.write(piece)
                await sink.drain()
        except OSError:
            sink.transport.abort()
        finally:
            self._writers.discard(sink)
            with contextlib.suppress(OSError):
                sink.close()

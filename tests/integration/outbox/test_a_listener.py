"""The program of docs/events.md, as it stands there, against a real broker."""

import asyncio
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from queue import Empty, Queue
from threading import Thread

import pytest

from stoker.stack.standalone import RunningNats
from stoker_shared.clock import SystemClock
from stoker_shared.database import Database
from stoker_shared.outbox import Relay
from stoker_shared.tasks import end_tasks
from tests.support.bus import bus_of, started
from tests.support.outbox import fill, job

DOCUMENT = Path(__file__).parents[3] / "docs" / "events.md"


class Listener:
    """The program as a process of its own."""

    def __init__(self, program: Path, *arguments: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(program), *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self._lines: Queue[str] = Queue()
        Thread(target=self._read, daemon=True).start()

    async def hears(self, count: int) -> list[str]:
        """The next lines."""
        return [await self._next() for _ in range(count)]

    async def _next(self) -> str:
        try:
            return await asyncio.to_thread(self._lines.get, timeout=30)
        except Empty:
            self._process.kill()
            raise AssertionError(f"it said nothing more: {self._process.communicate()[1]}") from None

    def end(self) -> None:
        """Kill it."""
        self._process.kill()
        self._process.communicate()

    def _read(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            self._lines.put(line)


@pytest.fixture
def program(tmp_path: Path) -> Path:
    found = re.search(r"```python\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    assert found
    file = tmp_path / "listen.py"
    file.write_text(found[1])
    return file


@pytest.fixture
def listen(program: Path, clean_bus: RunningNats) -> Iterator[list[Listener]]:
    listeners: list[Listener] = []
    yield listeners
    for listener in listeners:
        listener.end()


async def test_it_hears_what_was_told_before_it_came_and_what_is_told_then(
    listen: list[Listener], program: Path, clean_bus: RunningNats, outbox_database: Database
) -> None:
    arguments = (clean_bus.url, str(clean_bus.seed_files["operator"]))
    async with started(bus_of(clean_bus, "deployer")) as bus:
        relay = Relay(outbox_database, bus.publisher, clock=SystemClock())
        relaying = asyncio.create_task(relay.run())
        await fill(outbox_database, jobs=1, events=2)
        listen.append(Listener(program, *arguments))
        before = await listen[0].hears(2)
        await fill(outbox_database, jobs=1, events=1, first=3)
        relay.wake()
        (after,) = await listen[0].hears(1)
        listen.append(Listener(program, *arguments, "3"))
        (again,) = await listen[1].hears(1)
        await end_tasks([relaying])
    assert [line.split(" ", 2)[:2] for line in (*before, after)] == [[str(n), "stoker.JobQueued.v2"] for n in (1, 2, 3)]
    assert job(1) in after
    assert again == after

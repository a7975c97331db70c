"""A pod's container: a command in a process group and a folder of its own, started again whenever it ends."""

import asyncio
import contextlib
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path

import psutil

from stoker.stack.processes import OWN_CHILDREN
from stoker_shared.clock import Clock
from tests.simulators.runpod.leash import bind_to_parent_death
from tests.simulators.runpod.logbook import LogBook

IDLE = ("sleep", "infinity")
"""What an image does that is given no command."""

_POLL_SECONDS = 0.03
_LONGEST_LINE = 16_384


class Container:
    """Runs until `stop` or `kill`. `pause` is how long it stays down between two runs."""

    def __init__(
        self, args: str, *, environment: Mapping[str, str], folder: Path, log: LogBook, clock: Clock, pause: float
    ) -> None:
        self._args, self._environment, self._folder = args, environment, folder
        self._log, self._clock, self._pause = log, clock, pause
        self._process: subprocess.Popen[bytes] | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._reading: asyncio.Task[None] | None = None
        self.started_at: datetime | None = None
        self.exit_codes: list[int] = []
        self.starts = 0

    def start(self, on_first_start: Callable[[], None]) -> None:
        """Run it from now on; `on_first_start` is called when it does."""
        self._keeper = asyncio.create_task(self._keep_running(on_first_start), name=f"container {self._folder.name}")

    @property
    def is_running(self) -> bool:
        """Whether its command runs at this moment."""
        return self._process is not None and self._process.poll() is None

    def processes(self) -> list[psutil.Process]:
        """Everything that runs in it."""
        return processes_of(self._environment["RUNPOD_POD_ID"], self._folder)

    async def stop(self, grace: float) -> None:
        """SIGTERM to its process group, `grace` seconds, then SIGKILL to all that is in it."""
        await self._dismiss_keeper()
        if self.is_running and self._process is not None:
            _signal_group(self._process.pid, signal.SIGTERM)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(grace):
                    await self._ended(self._process)
        await self._kill_all()

    async def kill(self) -> None:
        """As if the plug was pulled: nobody is asked."""
        await self._dismiss_keeper()
        await self._kill_all()

    async def _keep_running(self, on_first_start: Callable[[], None]) -> None:
        while True:
            try:
                process = self._run()
            except (OSError, ValueError) as error:
                self._say(f"error starting container: {error}")
            else:
                self._say("start container")
                on_first_start()
                self.exit_codes.append(await self._ended(process))
                # What it left behind dies with it, and with that the last who could still print.
                await self._kill_all()
                # The exit status is nobody's to know: the real one does not tell it either.
                self._say("container exited")
            await asyncio.sleep(self._pause)

    def _run(self) -> subprocess.Popen[bytes]:
        self._process = subprocess.Popen(
            command_of(self._args),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=self._folder / "workspace",
            env=dict(self._environment),
            start_new_session=True,
            preexec_fn=partial(bind_to_parent_death, os.getpid(), signal.SIGKILL),  # noqa: PLW1509 - it takes no lock
        )
        OWN_CHILDREN.add(self._process.pid)
        self._reading = asyncio.create_task(self._read(self._process), name=f"read {self._folder.name}")
        self.starts += 1
        self.started_at = self._clock.now()
        return self._process

    async def _read(self, process: subprocess.Popen[bytes]) -> None:
        loop, reader = asyncio.get_running_loop(), asyncio.StreamReader(limit=_LONGEST_LINE)
        transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), process.stdout)
        rest = b""
        try:
            while piece := await reader.read(_LONGEST_LINE):
                *lines, rest = (rest + piece).split(b"\n")
                for line in (*lines, *([rest] if len(rest) >= _LONGEST_LINE else [])):
                    self._log.add(self._clock.now(), "container", line.decode(errors="replace").rstrip("\r"))
                rest = b"" if len(rest) >= _LONGEST_LINE else rest
            if rest:
                self._log.add(self._clock.now(), "container", rest.decode(errors="replace"))
        finally:
            transport.close()

    async def _ended(self, process: subprocess.Popen[bytes]) -> int:
        while (status := process.poll()) is None:  # noqa: ASYNC110 - works on every system
            await asyncio.sleep(_POLL_SECONDS)
        OWN_CHILDREN.discard(process.pid)
        return status

    async def _kill_all(self) -> None:
        if self._process is not None:
            _signal_group(self._process.pid, signal.SIGKILL)
        while left := await asyncio.to_thread(self.processes):
            for process in left:
                with contextlib.suppress(psutil.Error):
                    process.kill()
            await asyncio.sleep(_POLL_SECONDS)
        if self._process is not None and self._reading is not None:
            await self._ended(self._process)
            await asyncio.shield(self._reading)

    async def _dismiss_keeper(self) -> None:
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
            self._keeper = None

    def _say(self, text: str) -> None:
        self._log.add(self._clock.now(), "system", text)


def command_of(args: str) -> Sequence[str]:
    """What the container runs: the words of `args`, without a shell.

    Raises:
        ValueError: a quotation is not closed.
    """
    return shlex.split(args) or IDLE


def processes_of(pod_id: str, folder: Path) -> list[psutil.Process]:
    """Living processes that carry the pod's mark or work in its folder."""
    return [process for process in _candidates() if _belongs(process, pod_id, folder)]


def _candidates() -> list[psutil.Process]:
    # Where the kernel hands us the orphans, everything of a pod is below us.
    if sys.platform.startswith("linux"):
        return psutil.Process().children(recursive=True)
    return list(psutil.process_iter())


def _belongs(process: psutil.Process, pod_id: str, folder: Path) -> bool:
    try:
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        return process.environ().get("RUNPOD_POD_ID") == pod_id or Path(process.cwd()).is_relative_to(folder)
    except psutil.Error:
        return False


def _signal_group(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)

"""One child under supervision: started, waited for, watched, started again when it dies."""

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import StrEnum
from pathlib import Path

from stoker.stack.errors import NotReady, ProcessFailed
from stoker.stack.ports import listens_on
from stoker.stack.processes import Child, ProcessSpec, describe_exit
from stoker.stack.records import ProcessIdentity, RunRecord, descendants_of, end_processes
from stoker.stack.restarts import CrashHistory, RestartPolicy
from stoker_shared.tasks import end_tasks

Probe = Callable[[], Awaitable[None]]
Step = Callable[[], Awaitable[None]]

# Pauses between questions grow, so that a slow start is not made slower by asking.
FIRST_PROBE_SECONDS, LONGEST_PROBE_SECONDS = 0.05, 1.0
# How often a process that is ready is asked whether it still is.
HEALTH_SECONDS = 10.0
DESCENDANTS_SECONDS = 1.0


class ProcessState(StrEnum):
    """What a process of the stack is doing."""

    WAITING = "waiting"
    STARTING = "starting"
    READY = "ready"
    UNREADY = "not ready"
    RESTARTING = "restarting"
    FAILED = "failed"
    STOPPING = "stopping"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class ProcessStatus:
    """A process at one moment. `since` is when its present run began, in seconds of the monotonic clock."""

    name: str
    state: ProcessState = ProcessState.WAITING
    pid: int | None = None
    port: int | None = None
    restarts: int = 0
    since: float | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Blueprint:
    """A process of the stack: how it runs and how one sees that it works.

    `probe` raises NotReady until it does. `prepare` runs before the first start, `provision` after it became ready.
    `ends_descendants`: it starts processes in other sessions, which are ended when it is stopped.
    """

    spec: ProcessSpec
    probe: Probe
    prepare: Step | None = None
    provision: Step | None = None
    ends_descendants: bool = False
    descendants_timeout: timedelta = timedelta(seconds=10)


class SupervisedProcess:
    """Keeps one process running until `stop`."""

    def __init__(
        self,
        blueprint: Blueprint,
        *,
        records: Path,
        policy: RestartPolicy,
        ready_timeout: timedelta,
        on_change: Callable[[ProcessStatus], None],
    ) -> None:
        self.blueprint = blueprint
        self.name = blueprint.spec.name
        self._child = Child(blueprint.spec, records=records)
        self._records = records
        self._policy = policy
        self._history = CrashHistory(policy)
        self._ready_timeout = ready_timeout
        self._on_change = on_change
        self._keeper: asyncio.Task[None] | None = None
        self._was_ready = asyncio.Event()
        self._descendants: set[ProcessIdentity] = set()
        self.status = ProcessStatus(self.name, port=blueprint.spec.port)

    async def start(self) -> None:
        """Start the process and return when it is ready for the first time.

        Raises:
            ProcessFailed: it keeps ending, or does not become ready in time.
            StepFailed: its preparation failed.
        """
        if self.blueprint.prepare is not None:
            self._tell(ProcessState.STARTING, note="preparing")
            await self.blueprint.prepare()
        await self._run_until_ready()
        if self.blueprint.provision is not None:
            await self.blueprint.provision()

    async def stop(self, *, hurry: bool = False) -> bool:
        """End the process and what belongs to it. Returns whether there was anything to end."""
        await self._stop_keeper()
        was_running = self._child.pid is not None
        if was_running:
            self._tell(ProcessState.STOPPING)
        self._note_descendants()
        try:
            # What it starts after this moment is found by `end_all_below` at the end of stoker up.
            await self._child.stop(patience=timedelta() if hurry else None)
        finally:
            await self._end_descendants(hurry=hurry)
        if self.status.state is not ProcessState.WAITING:
            self._tell(ProcessState.STOPPED, running=False)
        return was_running

    def kill(self) -> None:
        """SIGKILL to the process; it is started again as after any death."""
        self._note_descendants()
        self._child.kill()

    def kill_for_good(self) -> None:
        """SIGKILL to the process and all that belongs to it; it is not started again."""
        if self._keeper is not None:
            self._keeper.cancel()
        self._note_descendants()
        self._child.kill()
        end_processes(self._descendants, number=signal.SIGKILL, patience=0)

    async def restart(self) -> None:
        """Stop the process orderly and start it again; returns when it is ready.

        Raises:
            ProcessFailed: it does not become ready any more.
        """
        await self._stop_keeper()
        self._tell(ProcessState.RESTARTING)
        await self._child.stop()
        self._history = CrashHistory(self._policy)
        self._was_ready.clear()
        await self._run_until_ready()

    async def _run_until_ready(self) -> None:
        self._keeper = asyncio.create_task(self._keep_running(), name=f"keep {self.name}")
        self._keeper.add_done_callback(self._keeper_ended)
        ready = asyncio.create_task(self._was_ready.wait())
        try:
            await asyncio.wait((self._keeper, ready), return_when=asyncio.FIRST_COMPLETED)
        finally:
            ready.cancel()
        if self._keeper.done():
            await self._keeper

    def _keeper_ended(self, keeper: asyncio.Task[None]) -> None:
        # Only a fault of ours gets here: a process nobody watches must not look healthy.
        if not keeper.cancelled() and (error := keeper.exception()) is not None:
            self._tell(ProcessState.FAILED, note=f"not supervised any more ({error})")

    async def _stop_keeper(self) -> None:
        if self._keeper is None:
            return
        await end_tasks([self._keeper])
        self._keeper = None

    async def _keep_running(self) -> None:
        while True:
            reason = await self._run_once()
            self._child.clear_up()
            verdict = self._history.died(time.monotonic())
            if not self._was_ready.is_set() and self._history.total >= self._policy.first_start_attempts:
                self._tell(ProcessState.FAILED, note=reason, running=False)
                raise ProcessFailed(
                    self.name, reason, log_file=self.blueprint.spec.log_file, last_lines=self._child.last_lines()
                )
            state, note = ProcessState.RESTARTING, reason
            if verdict.is_crash_loop:
                state, note = ProcessState.FAILED, f"{reason}; it keeps ending\n{self._child.last_lines(5)}"
            self._tell(state, note=note, running=False)
            await asyncio.sleep(verdict.delay.total_seconds())

    async def _run_once(self) -> str:
        """Run the process to its end. Returns why it ended."""
        try:
            self._child.start()
        except OSError as error:
            return f"it cannot be started ({error})"
        self._tell(ProcessState.STARTING, since=time.monotonic())
        reason = await self._until_ready()
        if reason is None:
            self._note_descendants()
            self._tell(ProcessState.READY)
            self._was_ready.set()
            reason = await self._watch()
        return reason

    async def _until_ready(self) -> str | None:
        deadline = time.monotonic() + self._ready_timeout.total_seconds()
        pause = FIRST_PROBE_SECONDS
        while True:
            try:
                await self.blueprint.probe()
            except NotReady as fault:
                unready = fault.reason
            else:
                if (status := self._child.exit_status()) is None and self._holds_its_port():
                    return None
                # Another stack that started at the same moment may have taken the port and answered in its place.
                unready = f"port {self.blueprint.spec.port} is answered by another process"
            if (status := self._child.exit_status()) is not None:
                return describe_exit(status)
            if time.monotonic() > deadline:
                await self._child.stop()
                return f"not ready after {self._ready_timeout.total_seconds():.0f} s ({unready})"
            await asyncio.sleep(pause)
            pause = min(1.4 * pause, LONGEST_PROBE_SECONDS)

    def _holds_its_port(self) -> bool:
        pid, port = self._child.pid, self.blueprint.spec.port
        return port is None or pid is None or listens_on(pid, port)

    async def _watch(self) -> str:
        health = asyncio.create_task(self._watch_health(), name=f"health of {self.name}")
        try:
            return describe_exit(await self._child.wait())
        finally:
            await end_tasks([health])

    async def _watch_health(self) -> None:
        next_probe = time.monotonic() + HEALTH_SECONDS
        while True:
            await asyncio.sleep(DESCENDANTS_SECONDS)
            self._note_descendants()
            if time.monotonic() >= next_probe:
                await self._probe_once()
                next_probe = time.monotonic() + HEALTH_SECONDS

    async def _probe_once(self) -> None:
        try:
            await self.blueprint.probe()
        except NotReady as fault:
            self._tell(ProcessState.UNREADY, note=fault.reason)
        else:
            self._tell(ProcessState.READY)

    def _note_descendants(self) -> None:
        pid = self._child.pid
        if not self.blueprint.ends_descendants or pid is None:
            return
        # Those of an earlier run stay noted while they live: a job outlives a kill -9 of the server that started it.
        known = {identity for identity in self._descendants if identity.process() is not None}
        now = known | descendants_of(pid)
        if now == self._descendants:
            return
        self._descendants = now
        record = replace(RunRecord.of(self.name, pid, self.blueprint.spec.stop_signal), descendants=tuple(now))
        try:
            record.write(self._records)
        except OSError as error:
            self._tell(self.status.state, note=f"its machines cannot be noted ({error.strerror})")

    async def _end_descendants(self, *, hurry: bool) -> None:
        if not self._descendants:
            return
        patience = 0.0 if hurry else self.blueprint.descendants_timeout.total_seconds()
        await asyncio.to_thread(end_processes, self._descendants, number=signal.SIGTERM, patience=patience)
        self._descendants = set()

    def _tell(self, state: ProcessState, *, note: str = "", since: float | None = None, running: bool = True) -> None:
        new = ProcessStatus(
            name=self.name,
            state=state,
            pid=self._child.pid if running else None,
            port=self.blueprint.spec.port,
            restarts=self._history.total,
            since=(since if since is not None else self.status.since) if running else None,
            note=note,
        )
        if new != self.status:
            self.status = new
            self._on_change(new)

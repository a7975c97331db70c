"""Child processes: started in a session of their own, recorded on disk, and gone when they are told to go."""

import asyncio
import contextlib
import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import BinaryIO

from stoker.stack.errors import StepFailed
from stoker.stack.records import RunRecord

POLL_SECONDS = 0.05
KEPT_LOGS = 3
GROUP_LOOKS = 100
_PR_SET_PDEATHSIG = 1

# Those whose exit status a Child collects; nobody else may.
OWN_CHILDREN: set[int] = set()


@dataclass(frozen=True, slots=True)
class SystemUser:
    """Whom a process runs as, if not as ourselves."""

    name: str
    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    """How to run one program. Secrets travel in `environment`, never in `command`, which everybody can see."""

    name: str
    command: tuple[str, ...]
    log_file: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    folder: Path | None = None
    user: SystemUser | None = None
    port: int | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    stop_timeout: timedelta = timedelta(seconds=10)
    # Bytes of the log above which a start begins a new one.
    rotate_log_above: int = 16 * 2**20


class Child:
    """One run of a program after another. `records` is where its pid is noted while it runs."""

    def __init__(self, spec: ProcessSpec, *, records: Path | None = None) -> None:
        self.spec = spec
        self._records = records
        self._process: subprocess.Popen[bytes] | None = None
        self._group_is_gone = True

    @property
    def pid(self) -> int | None:
        """The process, while it runs."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    def exit_status(self) -> int | None:
        """None while it runs or before its first start; negative: the signal that ended it."""
        return self._process.poll() if self._process is not None else None

    def start(self) -> None:
        """Start the program. Call it from a thread that lives as long as the program shall: its end ends the child.

        Raises:
            OSError: the program cannot be started.
        """
        user = self.spec.user
        with open_log(self.spec.log_file, rotate_above=self.spec.rotate_log_above) as log:
            self._process = subprocess.Popen(
                self.spec.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.spec.folder,
                env=dict(self.spec.environment),
                start_new_session=True,
                user=user.uid if user else None,
                group=user.gid if user else None,
                extra_groups=[] if user else None,
                preexec_fn=_leash(self.spec.stop_signal, os.getpid()),  # noqa: PLW1509 - it takes no lock
            )
        self._group_is_gone = False
        OWN_CHILDREN.add(self._process.pid)
        try:
            self._write_record()
        except OSError:
            # A process that is not recorded could not be found again.
            self.kill()
            raise

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process, if it runs."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL to the process and its group."""
        if self._process is not None and not self._group_is_gone:
            _kill_group(self._process.pid)

    async def stop(self, *, patience: timedelta | None = None) -> None:
        """Ask it to end, wait, then insist. Nothing of its process group is left afterwards.

        `patience` None: the `stop_timeout` of the program.
        """
        if self._process is None or self._group_is_gone:
            return
        try:
            self.signal(self.spec.stop_signal)
            given = self.spec.stop_timeout if patience is None else patience
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(given.total_seconds()):
                    await self.wait()
        finally:
            self.clear_up()
        await self._group_died()

    async def wait(self) -> int:
        """Wait for the end of the process. Returns the exit status."""
        if self._process is not None and self._process.poll() is None:
            await _ended(self._process.pid)
        while (status := self.exit_status()) is None:  # noqa: ASYNC110 - see _ended
            await asyncio.sleep(POLL_SECONDS)
        return status

    def clear_up(self) -> None:
        """End what is left of the process and its group, and remove the note about it."""
        self.kill()
        if self._process is not None:
            self._process.wait()
            OWN_CHILDREN.discard(self._process.pid)
        self._group_is_gone = True
        if self._records is not None:
            RunRecord.file(self._records, self.spec.name).unlink(missing_ok=True)

    async def _group_died(self) -> None:
        """Give the rest of the group a moment to die of SIGKILL: the kernel does not wait for it."""
        for _ in range(GROUP_LOOKS):
            if self._process is None or not _group_exists(self._process.pid):
                return
            await asyncio.sleep(POLL_SECONDS / 5)

    def last_lines(self, count: int = 15) -> str:
        """The end of the log."""
        return last_lines(self.spec.log_file, count)

    def _write_record(self) -> None:
        if self._records is not None and self._process is not None:
            RunRecord.of(self.spec.name, self._process.pid, self.spec.stop_signal).write(self._records)


async def run_to_end(spec: ProcessSpec, *, patience: timedelta, records: Path | None = None) -> None:
    """Run a program that ends by itself. It is gone when this returns, also when cancelled.

    Raises:
        StepFailed: it could not be started, ended with another status than 0, or took longer than `patience`.
    """
    child = Child(spec, records=records)
    try:
        child.start()
        async with asyncio.timeout(patience.total_seconds()):
            status = await child.wait()
        reason = describe_exit(status) if status else ""
    except OSError as error:
        reason = f"it cannot be started ({error})"
    except TimeoutError:
        reason = f"it did not end within {patience.total_seconds():.0f} s"
    finally:
        await child.stop(patience=timedelta())
    if reason:
        raise StepFailed(spec.name, reason, log_file=spec.log_file, last_lines=child.last_lines())


async def _ended(pid: int) -> None:
    """Sleep until a child ends; returns at once where the kernel cannot tell (other than Linux)."""
    if not hasattr(os, "pidfd_open"):
        return
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    descriptor = os.pidfd_open(pid)
    loop.add_reader(descriptor, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)


def open_log(file: Path, *, rotate_above: int) -> BinaryIO:
    """The log of a process, opened for appending; one that has grown is put aside first."""
    if file.exists() and file.stat().st_size > rotate_above:
        for number in range(KEPT_LOGS - 1, 0, -1):
            older = file.with_suffix(f".log.{number}")
            if older.exists():
                older.replace(file.with_suffix(f".log.{number + 1}"))
        file.replace(file.with_suffix(".log.1"))
    descriptor = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    return os.fdopen(descriptor, "ab")


def last_lines(file: Path, count: int = 15) -> str:
    """The last lines of a log, as far as they are in its last 16 KiB."""
    if not file.exists():
        return ""
    with file.open("rb") as log:
        log.seek(max(0, file.stat().st_size - 16_384))
        return "\n".join(log.read().decode(errors="replace").splitlines()[-count:])


def describe_exit(status: int) -> str:
    """An exit status in words."""
    if status < 0:
        return f"it was ended by {signal.Signals(-status).name}"
    return f"it ended with exit status {status}"


def _leash(number: signal.Signals, parent: int) -> Callable[[], None] | None:
    """What runs in the child before the program: let the kernel signal it when its parent dies (Linux only)."""
    if not sys.platform.startswith("linux"):
        return None
    prctl = ctypes.CDLL(None, use_errno=True).prctl

    def bind_to_parent() -> None:
        # Python changes the user before this runs; the other way round the kernel would forget the setting.
        prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)

    return bind_to_parent


def _group_exists(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _kill_group(group: int) -> None:
    try:
        os.killpg(group, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        # Permission: macOS says so of a group of zombies.
        return

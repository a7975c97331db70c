"""Notes on disk about running children, so that a supervisor killed outright leaves nothing that is not found again."""

import json
import signal
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from stoker.stack.errors import StateFileDamaged
from stoker.stack.layout import read_json, write_private

# The start time is derived from the boot time, which the clock's adjustment moves a little.
SAME_START_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class ProcessIdentity:
    """A pid alone may be somebody else's by now; with the start time it is not."""

    pid: int
    created: float

    @classmethod
    def of(cls, pid: int) -> "ProcessIdentity | None":
        """The identity of a running process."""
        try:
            return cls(pid, psutil.Process(pid).create_time())
        except psutil.Error:
            return None

    def process(self) -> psutil.Process | None:
        """The process, if that very one still runs."""
        try:
            found = psutil.Process(self.pid)
            same = abs(found.create_time() - self.created) < SAME_START_SECONDS
            return found if same and found.status() != psutil.STATUS_ZOMBIE else None
        except psutil.Error:
            return None


@dataclass(frozen=True, slots=True)
class RunRecord:
    """One child: who it is and which signal ends it. `descendants` are processes it started in other sessions."""

    name: str
    main: ProcessIdentity
    stop_signal: int
    descendants: tuple[ProcessIdentity, ...] = ()

    @classmethod
    def of(cls, name: str, pid: int, stop_signal: signal.Signals) -> "RunRecord":
        """The record of a child that was just started."""
        return cls(name, ProcessIdentity.of(pid) or ProcessIdentity(pid, time.time()), int(stop_signal))

    @staticmethod
    def file(folder: Path, name: str) -> Path:
        """Where the record of a child is."""
        return folder / f"{name}.json"

    def write(self, folder: Path) -> None:
        """Keep the record."""
        write_private(self.file(folder, self.name), json.dumps(asdict(self)))

    @classmethod
    def read(cls, file: Path) -> "RunRecord | None":
        """The record in a file, or None if the file is damaged: then nobody can be ended by it."""
        try:
            content = read_json(file) or {}
            return cls(
                name=str(content["name"]),
                main=ProcessIdentity(**content["main"]),
                stop_signal=int(content["stop_signal"]),
                descendants=tuple(ProcessIdentity(**entry) for entry in content["descendants"]),
            )
        except (StateFileDamaged, KeyError, TypeError, ValueError):
            return None


def descendants_of(pid: int) -> set[ProcessIdentity]:
    """Every process below `pid`, whatever its session."""
    try:
        below = psutil.Process(pid).children(recursive=True)
    except psutil.Error:
        return set()
    return {identity for child in below if (identity := ProcessIdentity.of(child.pid)) is not None}


def end_strays(folder: Path, *, patience: float = 10.0) -> list[str]:
    """End the children that an earlier supervisor left running, and only those.

    Returns:
        What was ended, as `name (pid 1)`.
    """
    ended: list[str] = []
    for file in sorted(folder.glob("*.json")):
        record = RunRecord.read(file)
        if record is not None:
            ended += _end_recorded(record, patience)
        file.unlink(missing_ok=True)
    return ended


def end_processes(identities: set[ProcessIdentity], *, number: int, patience: float) -> list[int]:
    """Signal the processes that still run, wait `patience` seconds, then SIGKILL. Returns their pids."""
    running = [process for identity in identities if (process := identity.process()) is not None]
    for process in running:
        _send(process, number)
    _, alive = psutil.wait_procs(running, timeout=patience)
    for process in alive:
        _send(process, signal.SIGKILL)
    psutil.wait_procs(alive, timeout=5)
    return [process.pid for process in running]


def _end_recorded(record: RunRecord, patience: float) -> list[str]:
    # The group first: backends of PostgreSQL and the like are nobody's record.
    members = descendants_of(record.main.pid) if record.main.process() is not None else set()
    pids = end_processes({record.main}, number=record.stop_signal, patience=patience)
    pids += end_processes(members | set(record.descendants), number=signal.SIGTERM, patience=patience)
    return [f"{record.name} (pid {pid})" for pid in pids]


def _send(process: psutil.Process, number: int) -> None:
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return

"""Machines on disk: one folder each, every file written atomically. There is no other memory.

<data>/machines/<name>/machine.json   what the server decided
                       env.json       the environment, 0600, removed when the machine has ended
                       runner.json    written once by the runner: process id and start time
                       exit.json      written by the runner at the end: exit code
                       log.txt        stdout and stderr
                       workspace/     the job's files
<data>/retired/<name>                 names that may never start
"""

import errno
import hashlib
import os
import shutil
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel

from stoker_trainer.config import canonical_json
from stoker_trainer.files import read_json, sync_folder, write_atomically, write_json
from stoker_trainer.server.errors import StorageFull
from stoker_trainer.server.schemas import MachineRequest, MachineState

FULL_DISK_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
PRIVATE_FILE, PRIVATE_FOLDER = 0o600, 0o700


class MachineRecord(BaseModel):
    """What the server knows about a machine. `number` orders the queue."""

    name: str
    number: int
    gpu_count: int
    content_sha256: str
    state: MachineState = MachineState.QUEUED
    slot: int | None = None
    exit_code: int | None = None
    created_at: datetime
    started_at: datetime | None = None
    ended_at: datetime | None = None
    terminate_asked_at: datetime | None = None

    @property
    def has_ended(self) -> bool:
        """True when nothing of it runs or will run."""
        return self.state in {MachineState.EXITED, MachineState.TERMINATED}


class Ending(NamedTuple):
    """How a job ended, and when."""

    exit_code: int
    ended_at: datetime


class Records:
    """Reads and writes machine folders."""

    def __init__(self, data_dir: Path) -> None:
        self._machines = data_dir / "machines"
        self._retired = data_dir / "retired"
        for folder in (data_dir, self._machines, self._retired):
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(PRIVATE_FOLDER)
        for leftover in self._machines.glob(".new-*"):
            shutil.rmtree(leftover)

    @property
    def folder(self) -> Path:
        """Where all machines are."""
        return self._machines

    def load_all(self) -> list[MachineRecord]:
        """Every machine on disk, oldest first."""
        files = self._machines.glob("*/machine.json")
        return sorted((MachineRecord.model_validate(read_json(file)) for file in files), key=lambda one: one.number)

    def create(self, record: MachineRecord, env: dict[str, str]) -> None:
        """Write a new machine: whole or, on a full disk, not at all (StorageFull)."""
        temporary = self._machines / f".new-{record.name}"
        try:
            temporary.mkdir(mode=PRIVATE_FOLDER)
            write_json(temporary / "env.json", env, mode=PRIVATE_FILE)
            (temporary / "workspace").mkdir()
            write_atomically(temporary / "machine.json", record.model_dump_json().encode(), mode=PRIVATE_FILE)
            temporary.rename(self.folder_of(record.name))
            sync_folder(self._machines)
        except OSError as error:
            shutil.rmtree(temporary, ignore_errors=True)
            if error.errno in FULL_DISK_ERRORS:
                free = shutil.disk_usage(self._machines).free
                raise StorageFull(self._machines, free_bytes=free) from error
            raise

    def save(self, record: MachineRecord) -> None:
        """Write what changed."""
        path = self.folder_of(record.name) / "machine.json"
        write_atomically(path, record.model_dump_json().encode(), mode=PRIVATE_FILE)

    def folder_of(self, name: str) -> Path:
        """A machine's folder."""
        return self._machines / name

    def runner(self, name: str) -> dict[str, Any] | None:
        """Who runs the machine: {"pid", "started"}, pid None when it was called off; None before anyone does."""
        found = read_json(self.folder_of(name) / "runner.json")
        return found if isinstance(found, dict) else None

    def ending(self, name: str) -> "Ending | None":
        """How the job ended, as its runner wrote it; None before."""
        found = read_json(self.folder_of(name) / "exit.json")
        if not isinstance(found, dict):
            return None
        return Ending(found["exit_code"], datetime.fromtimestamp(found["ended_at"], UTC))

    def forget_secrets(self, name: str) -> None:
        """Remove the environment of a machine that has ended."""
        (self.folder_of(name) / "env.json").unlink(missing_ok=True)

    def forget_workspace(self, name: str) -> None:
        """Remove the job's files; log and record stay."""
        shutil.rmtree(self.folder_of(name) / "workspace", ignore_errors=True)

    def retire(self, name: str) -> None:
        """Note that a name may never start."""
        write_atomically(self._retired / name, b"", mode=PRIVATE_FILE)

    def is_retired(self, name: str) -> bool:
        """True when the name was terminated before it existed."""
        return (self._retired / name).exists()

    def read_log(self, name: str, *, offset: int, limit: int) -> bytes:
        """Up to `limit` bytes of the log from `offset`."""
        try:
            with (self.folder_of(name) / "log.txt").open("rb") as file:
                file.seek(offset)
                return file.read(limit)
        except FileNotFoundError:
            return b""


def claim_runner(folder: Path, values: dict[str, Any]) -> bool:
    """Write runner.json unless somebody did before: exactly one claim wins, whoever crashes in between."""
    temporary = folder / f".runner.{os.getpid()}.new"
    write_json(temporary, values, mode=PRIVATE_FILE)
    try:
        os.link(temporary, folder / "runner.json")
    except FileExistsError:
        return False
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()
    sync_folder(folder)
    return True


def content_sha256(request: MachineRequest) -> str:
    """Hash of what was asked for; two requests with the same hash want the same machine."""
    return hashlib.sha256(canonical_json(request.model_dump())).hexdigest()

"""The rules of machines: queue, slots, start, end. Level-triggered: what is on disk and alive decides.

A crash at any point leaves a state from which `reconcile` goes on, because intent is on disk before each act and
because a runner can be claimed only once.
"""

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import structlog

import stoker_trainer
from stoker_trainer.files import write_json
from stoker_trainer.model import MODEL_ROOTS_VARIABLE
from stoker_trainer.server.errors import MachineNotFound, NameRetired, NameTaken, NoSuchSlot, StorageFull
from stoker_trainer.server.processes import group_members, is_same_process, signal_group
from stoker_trainer.server.records import PRIVATE_FILE, Ending, MachineRecord, Records, claim_runner, content_sha256
from stoker_trainer.server.schemas import LogPart, Machine, MachineRequest, MachineState, Offer
from stoker_trainer.server.settings import Settings
from stoker_trainer.server.slots import Slot

log = structlog.get_logger()

LOST_EXIT_CODE = -9
"""Exit code of a machine whose runner vanished without writing one (SIGKILL, restart of the host)."""

CLAIM_TIME_SECONDS = 60.0
"""A runner that was started has this long to claim its machine before it is started again."""


class Machines:
    """All machines of this server. Safe to use from several threads."""

    def __init__(
        self,
        settings: Settings,
        *,
        slots: list[Slot],
        memory_bytes: int,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._settings = settings
        self._slots = slots
        self._memory_bytes = memory_bytes
        self._now = now
        self._records = Records(settings.data_dir.absolute())
        self._lock = threading.RLock()
        self._all = {record.name: record for record in self._records.load_all()}
        self._spawned: dict[str, tuple[subprocess.Popen[bytes], datetime]] = {}

    def create(self, request: MachineRequest) -> tuple[Machine, bool]:
        """The machine, and whether it is new. The same request again gives the same machine.

        Raises NameTaken, NameRetired, NoSuchSlot, StorageFull.
        """
        with self._lock:
            existing = self._existing(request)
            if existing:
                return self._shown(existing), False
            self._require_possible(request)
            self._require_room()
            record = MachineRecord(
                name=request.name,
                number=max((one.number for one in self._all.values()), default=0) + 1,
                gpu_count=request.gpu_count,
                content_sha256=content_sha256(request),
                created_at=self._now(),
            )
            self._records.create(record, request.env)
            self._all[record.name] = record
            log.info("machine created", machine=record.name, gpu_count=record.gpu_count)
            return self._shown(record), True

    def list_all(self) -> list[Machine]:
        """All machines, oldest first."""
        with self._lock:
            return [self._shown(record) for record in self._all.values()]

    def get(self, name: str) -> Machine:
        """One machine. Raises MachineNotFound."""
        with self._lock:
            return self._shown(self._known(name))

    def terminate(self, name: str) -> Machine:
        """Ask for the end of a machine; asking again changes nothing.

        An unknown name is retired, so that a request still under way cannot start it. Raises MachineNotFound.
        """
        with self._lock:
            if name not in self._all:
                self._records.retire(name)
            record = self._known(name)
            if record.state is not MachineState.TERMINATED and record.terminate_asked_at is None:
                record.terminate_asked_at = self._now()
                log.info("machine to be terminated", machine=name)
                self._signal(record, signal.SIGTERM)
                self._save_if_there_is_room(record)
            self.reconcile()
            return self._shown(record)

    def log_part(self, name: str, *, offset: int, limit: int) -> LogPart:
        """Text of a log from a byte offset, cut at a whole character. Raises MachineNotFound."""
        with self._lock:
            self._known(name)
        content = self._records.read_log(name, offset=offset, limit=limit)
        whole = _without_cut_character(content)
        text = whole.decode("utf-8", errors="replace")
        return LogPart(offset=offset, next_offset=offset + len(whole), text=text)

    def offers(self) -> list[Offer]:
        """What this server has, by kind."""
        with self._lock:
            taken = {record.slot for record in self._active()}
        kinds = dict.fromkeys((slot.gpu_type, slot.vram_bytes) for slot in self._slots)
        return [self._offer(kind, vram, taken) for kind, vram in kinds]

    def reconcile(self) -> None:
        """Bring every machine one step further, as far as its processes and the slots allow."""
        with self._lock:
            for process, _ in self._spawned.values():
                process.poll()  # so that no zombie stays
            for record in [one for one in self._all.values() if not one.has_ended or one.terminate_asked_at]:
                if record.state is not MachineState.TERMINATED:
                    self._advance(record)
            self._start_queued()

    def _existing(self, request: MachineRequest) -> MachineRecord | None:
        record = self._all.get(request.name)
        if self._records.is_retired(request.name):
            raise NameRetired(request.name)
        if record is None:
            return None
        if record.terminate_asked_at is not None:
            raise NameRetired(request.name)
        if record.content_sha256 != content_sha256(request):
            raise NameTaken(request.name)
        return record

    def _require_possible(self, request: MachineRequest) -> None:
        gpus = sum(slot.is_gpu for slot in self._slots)
        cpu_slots = len(self._slots) - gpus
        # One process trains on one GPU; several would need a launcher.
        if request.gpu_count > 1 or not (gpus if request.gpu_count else cpu_slots):
            raise NoSuchSlot(gpu_count=request.gpu_count, gpus=gpus, cpu_slots=cpu_slots)

    def _require_room(self) -> None:
        free = shutil.disk_usage(self._records.folder).free
        if free < self._settings.minimum_free_bytes:
            raise StorageFull(self._records.folder, free_bytes=free)

    def _known(self, name: str) -> MachineRecord:
        if name not in self._all:
            raise MachineNotFound(name)
        return self._all[name]

    def _active(self) -> list[MachineRecord]:
        return [one for one in self._all.values() if one.state in {MachineState.STARTING, MachineState.RUNNING}]

    def _advance(self, record: MachineRecord) -> None:
        if record.state is MachineState.QUEUED:
            if record.terminate_asked_at:
                self._end(record, MachineState.TERMINATED, ending=None)
            return
        runner = self._records.runner(record.name)
        if runner is None:
            self._advance_unclaimed(record)
        elif record.terminate_asked_at:
            self._advance_termination(record, runner)
        else:
            self._advance_run(record, runner)

    def _advance_unclaimed(self, record: MachineRecord) -> None:
        if record.terminate_asked_at:
            # Claim it for nobody: a runner that is still starting finds it taken and ends.
            claim_runner(self._records.folder_of(record.name), {"pid": None, "started": None})
            return
        spawned = self._spawned.get(record.name)
        if spawned is None or (self._now() - spawned[1]).total_seconds() > CLAIM_TIME_SECONDS:
            self._spawn(record)

    def _advance_run(self, record: MachineRecord, runner: dict[str, Any]) -> None:
        # The process first and the file second: the runner writes the file before it ends.
        is_running = is_same_process(runner["pid"], runner["started"])
        ended = self._records.ending(record.name)
        if ended is None and is_running:
            if record.state is MachineState.STARTING:
                record.state = MachineState.RUNNING
                self._records.save(record)
            return
        # Whatever the job left behind, or the job itself when its runner was killed, may not go on unseen.
        signal_group(runner["pid"], signal.SIGKILL, started=runner["started"])
        if not group_members(runner["pid"], started=runner["started"]):
            self._end(record, MachineState.EXITED, ending=ended or Ending(LOST_EXIT_CODE, self._now()))

    def _advance_termination(self, record: MachineRecord, runner: dict[str, Any]) -> None:
        asked = record.terminate_asked_at or self._now()
        ended = self._records.ending(record.name)
        if not _members(runner):
            was_run = runner["pid"] is not None
            lost = Ending(LOST_EXIT_CODE, self._now()) if was_run else None
            self._end(record, MachineState.TERMINATED, ending=self._records.ending(record.name) or lost)
        elif ended is not None or self._now() - asked >= self._settings.terminate_grace:
            signal_group(runner["pid"], signal.SIGKILL, started=runner["started"])

    def _end(self, record: MachineRecord, state: MachineState, *, ending: Ending | None) -> None:
        if record.ended_at is None:
            record.exit_code = ending.exit_code if ending else None
            record.ended_at = ending.ended_at if ending else self._now()
        record.state = state
        if state is MachineState.TERMINATED:
            self._records.forget_workspace(record.name)  # first: it may be what fills the disk
        self._records.forget_secrets(record.name)
        self._records.save(record)
        log.info("machine ended", machine=record.name, state=state.value, exit_code=record.exit_code)

    def _save_if_there_is_room(self, record: MachineRecord) -> None:
        try:
            self._records.save(record)
        except OSError as error:
            # A machine must be endable on a full disk; its end frees the room and is saved then.
            log.warning("termination not saved yet", machine=record.name, error=str(error))

    def _start_queued(self) -> None:
        queued = [one for one in self._all.values() if one.state is MachineState.QUEUED and not one.terminate_asked_at]
        for record in sorted(queued, key=lambda one: one.number):
            slot = self._free_slot(record)
            if slot is None:
                continue
            record.slot = slot.number
            record.state = MachineState.STARTING
            record.started_at = self._now()
            self._records.save(record)
            self._spawn(record)

    def _free_slot(self, record: MachineRecord) -> Slot | None:
        taken = {one.slot for one in self._active()}
        fitting = (slot for slot in self._slots if slot.is_gpu == bool(record.gpu_count))
        return next((slot for slot in fitting if slot.number not in taken), None)

    def _spawn(self, record: MachineRecord) -> None:
        folder = self._records.folder_of(record.name)
        write_json(folder / "placement.json", self._placement(record, folder), mode=PRIVATE_FILE)
        command = [sys.executable, "-m", "stoker_trainer.server.runner", str(folder)]
        process = subprocess.Popen(
            command,
            start_new_session=True,
            env={name: value for name, value in os.environ.items() if not name.startswith("STOKER_")}
            | {"PYTHONPATH": _package_path()},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._spawned[record.name] = (process, self._now())
        log.info("machine starting", machine=record.name, slot=record.slot)

    def _placement(self, record: MachineRecord, folder: Path) -> dict[str, str]:
        slot = next(one for one in self._slots if one.number == record.slot)
        roots = os.pathsep.join(str(root.absolute()) for root in self._settings.model_roots)
        return {
            "WORKSPACE": str(folder / "workspace"),
            "CUDA_VISIBLE_DEVICES": "" if slot.gpu_index is None else str(slot.gpu_index),
            "PYTHONPATH": _package_path(),
            MODEL_ROOTS_VARIABLE: roots,
        } | self._thread_limit()

    def _thread_limit(self) -> dict[str, str]:
        """Several jobs on one CPU share its cores; torch would give each of them all."""
        if self._settings.cpu_slots <= 1:
            return {}
        return {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // self._settings.cpu_slots))}

    def _signal(self, record: MachineRecord, number: signal.Signals) -> None:
        runner = self._records.runner(record.name)
        if runner and runner["pid"] is not None and not record.has_ended:
            signal_group(runner["pid"], number, started=runner["started"])

    def _offer(self, gpu_type: str, vram_bytes: int | None, taken: set[int | None]) -> Offer:
        slots = [slot for slot in self._slots if (slot.gpu_type, slot.vram_bytes) == (gpu_type, vram_bytes)]
        return Offer(
            gpu_type=gpu_type,
            gpu_count_max=int(slots[0].is_gpu),
            vram_bytes=vram_bytes,
            memory_bytes=self._memory_bytes,
            price_micro_usd_per_hour=self._settings.price_micro_usd_per_hour,
            slots_total=len(slots),
            slots_free=sum(slot.number not in taken for slot in slots),
        )

    def _shown(self, record: MachineRecord) -> Machine:
        values = record.model_dump(
            include={"name", "state", "exit_code", "created_at", "started_at", "ended_at", "slot"}
        )
        return Machine(
            **values,
            price_micro_usd_per_hour=self._settings.price_micro_usd_per_hour,
            queue_position=self._queue_position(record),
        )

    def _queue_position(self, record: MachineRecord) -> int | None:
        if record.state is not MachineState.QUEUED:
            return None
        ahead = (one for one in self._all.values() if one.state is MachineState.QUEUED)
        return sum(one.number <= record.number for one in ahead if bool(one.gpu_count) == bool(record.gpu_count))


def _members(runner: dict[str, Any]) -> list[int]:
    if runner["pid"] is None:
        return []
    return group_members(runner["pid"], started=runner["started"])


def _package_path() -> str:
    """Where this package was found, for the children, whose environment is a clean one."""
    return str(Path(stoker_trainer.__file__).parents[1])


def _without_cut_character(content: bytes) -> bytes:
    """Leave out the bytes of a character whose rest is not there yet."""
    for length in range(1, min(4, len(content)) + 1):
        byte = content[-length]
        if byte >= 0xC0:
            needed = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return content[:-length] if length < needed else content
        if byte < 0x80:
            return content
    return content

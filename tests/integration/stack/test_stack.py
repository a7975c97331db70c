"""A stack as a Python object: refusals at the start, deaths while it runs, order at the end."""

import asyncio
import os
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import psutil
import pytest

from stoker.stack.errors import (
    DiskNearlyFull,
    NotReady,
    PortTaken,
    ProcessFailed,
    StateFileDamaged,
    StepFailed,
    UnknownProcess,
)
from stoker.stack.lock import lock_holder
from stoker.stack.processes import ProcessSpec
from stoker.stack.records import ProcessIdentity, RunRecord, end_strays
from stoker.stack.restarts import RestartPolicy
from stoker.stack.services import ServiceSpec
from stoker.stack.settings import StackSettings
from stoker.stack.stack import Stack
from stoker.stack.supervised import Blueprint, Probe, ProcessState, ProcessStatus, SupervisedProcess
from tests.support.small_stack import processes_of, small_service

QUICK = RestartPolicy(
    delays=(timedelta(milliseconds=50),),
    crash_loop_after=3,
    slow_delay=timedelta(milliseconds=300),
    first_start_attempts=2,
)


class Recorder:
    """An observer that remembers."""

    def __init__(self) -> None:
        self.statuses: list[ProcessStatus] = []
        self.notices: list[str] = []

    def status(self, status: ProcessStatus) -> None:
        self.statuses.append(status)

    def notice(self, text: str) -> None:
        self.notices.append(text)

    def order(self, state: ProcessState) -> list[str]:
        return [status.name for status in self.statuses if status.state is state]


def stack_on(folder: Path, *services: ServiceSpec, recorder: Recorder | None = None, **settings: object) -> Stack:
    return Stack(
        StackSettings.model_validate({"data_dir": folder, **settings}),
        services=services,
        policy=QUICK,
        observer=recorder,
    )


def records_in(folder: Path) -> list[Path]:
    return list(folder.glob("*.json"))


async def until(is_so: Callable[[], bool], *, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


async def test_parts_start_in_order_and_stop_in_reverse(tmp_path: Path) -> None:
    recorder = Recorder()
    second = replace(small_service("second", "metrics"), needs=("first",))
    services = (small_service("first", "api"), second)
    async with stack_on(tmp_path, *services, recorder=recorder) as stack:
        assert set(stack.urls) == {"api", "metrics", "nats", "object_store"}
    order = ["nats", "postgres", "object-store", "first", "second"]
    assert recorder.order(ProcessState.READY) == order
    assert recorder.order(ProcessState.STOPPED) == order[::-1]
    assert processes_of(tmp_path) == []


async def test_a_disk_below_the_threshold_stops_the_start_before_anything_is_made(tmp_path: Path) -> None:
    with pytest.raises(DiskNearlyFull, match="MIN_FREE_DISK_BYTES"):
        await stack_on(tmp_path / "data", min_free_disk_bytes=2**60).start()
    assert not (tmp_path / "data").exists()


async def test_a_port_asked_for_and_taken_names_port_and_holder(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        port = stranger.getsockname()[1]
        with pytest.raises(PortTaken, match=rf"Port {port} .*pid {os.getpid()}"):
            await stack_on(tmp_path, port=port).start()
    assert lock_holder(tmp_path / "lock") is None


async def test_a_remembered_port_taken_by_a_stranger_is_replaced_and_told(tmp_path: Path) -> None:
    recorder = Recorder()
    async with stack_on(tmp_path) as stack:
        old = int(stack.urls["nats"].rpartition(":")[2])
    with socket.create_server(("127.0.0.1", old)):
        async with stack_on(tmp_path, recorder=recorder) as stack:
            assert stack.urls["nats"] != f"nats://127.0.0.1:{old}"
    assert any(f"Port {old} of nats is taken" in notice for notice in recorder.notices)


async def test_damaged_state_files_are_answered_well(tmp_path: Path) -> None:
    recorder = Recorder()
    (tmp_path / "run").mkdir()
    (tmp_path / "run/nats.json").write_text("{half")
    (tmp_path / "ports.json").write_text("{half")
    (tmp_path / "stack.json").write_text("{half")
    async with stack_on(tmp_path, recorder=recorder):
        assert any("put aside as ports.damaged" in notice for notice in recorder.notices)
    (tmp_path / "keys/secrets.json").write_text("{half")
    with pytest.raises(StateFileDamaged, match=r"secrets\.json"):
        await stack_on(tmp_path).start()
    assert lock_holder(tmp_path / "lock") is None


async def test_a_service_that_cannot_start_fails_the_start_with_its_last_lines(tmp_path: Path) -> None:
    with pytest.raises(ProcessFailed) as failure:
        await stack_on(tmp_path, small_service("first", "api", "crash")).start()
    assert "exit status 3" in failure.value.detail
    assert "it broke because of a reason" in failure.value.last_lines
    assert processes_of(tmp_path) == []
    assert lock_holder(tmp_path / "lock") is None


async def test_a_service_starts_when_those_it_needs_are_ready_and_not_before(tmp_path: Path) -> None:
    recorder = Recorder()
    needy = replace(small_service("first", "api"), needs=("second", "third"))
    others = small_service("second", "metrics"), small_service("third", "training_server")
    async with stack_on(tmp_path, needy, *others, recorder=recorder):
        pass
    starting, ready_since = ProcessState.STARTING, ProcessState.READY
    story = [(status.name, status.state) for status in recorder.statuses if status.state in (starting, ready_since)]
    assert story.index(("first", starting)) > story.index(("second", ready_since))
    assert story.index(("first", starting)) > story.index(("third", ready_since))
    assert story.index(("third", starting)) < story.index(("second", ready_since)), "those two side by side"


async def test_a_failed_migration_stops_the_start(tmp_path: Path) -> None:
    broken = ServiceSpec(
        name="first",
        command=("true",),
        environment=lambda _facts: {},
        prefix="SMALL_",
        migrate=("/bin/sh", "-c", "echo no such table; exit 4"),
    )
    with pytest.raises(StepFailed, match="first-migrate failed: it ended with exit status 4") as failure:
        await stack_on(tmp_path, broken).start()
    assert failure.value.last_lines == "no such table"
    assert processes_of(tmp_path) == []


async def test_an_orderly_restart_changes_the_pid_and_nothing_else(tmp_path: Path) -> None:
    async with stack_on(tmp_path, small_service("first", "api")) as stack:
        before = {status.name: status.pid for status in stack.statuses}
        await stack.restart("postgres")
        after = {status.name: status.pid for status in stack.statuses}
        assert after["postgres"] not in (None, before["postgres"])
        assert {**after, "postgres": 0} == {**before, "postgres": 0}
        with pytest.raises(UnknownProcess, match="It has: nats, postgres, object-store, first"):
            stack.kill("nobody")


# ---- one process under supervision, without infrastructure


async def ready() -> None:
    return


def supervised(
    tmp_path: Path,
    recorder: Recorder,
    command: str,
    *,
    probe: Probe = ready,
    ready_timeout: timedelta = timedelta(seconds=30),
) -> SupervisedProcess:
    spec = ProcessSpec(
        name="small",
        command=("/bin/sh", "-c", command),
        log_file=tmp_path / "small.log",
        environment={"PATH": os.environ["PATH"]},
        stop_timeout=timedelta(milliseconds=500),
    )
    return SupervisedProcess(
        Blueprint(spec=spec, probe=probe),
        records=tmp_path,
        policy=QUICK,
        ready_timeout=ready_timeout,
        on_change=recorder.status,
    )


async def test_a_process_that_never_gets_ready_fails_with_its_own_words(tmp_path: Path) -> None:
    async def unready() -> None:
        raise NotReady("503: database is away")

    process = supervised(tmp_path, Recorder(), "exec sleep 600", probe=unready, ready_timeout=timedelta(seconds=0.3))
    with pytest.raises(ProcessFailed, match="503: database is away"):
        await process.start()
    assert process.status.pid is None
    assert records_in(tmp_path) == []


async def test_a_killed_process_is_started_again(tmp_path: Path) -> None:
    recorder = Recorder()
    process = supervised(tmp_path, recorder, "exec sleep 600")
    await process.start()
    first = process.status.pid
    process.kill()
    await until(lambda: process.status.state is ProcessState.READY and process.status.pid != first)
    assert process.status.restarts == 1
    assert any("ended by SIGKILL" in status.note for status in recorder.statuses)
    await process.stop()


async def test_a_crash_loop_is_shown_with_its_last_lines_and_still_retried(tmp_path: Path) -> None:
    recorder = Recorder()
    process = supervised(tmp_path, recorder, "sleep 0.1; echo out of memory; exit 9")
    await process.start()
    await until(lambda: sum(status.state is ProcessState.FAILED for status in recorder.statuses) >= 2)
    failed = next(status for status in recorder.statuses if status.state is ProcessState.FAILED)
    assert "exit status 9" in failed.note
    assert "out of memory" in failed.note
    await process.stop()
    assert process.status.state is ProcessState.STOPPED


async def test_a_process_that_ignores_the_signal_is_killed_with_all_its_children(tmp_path: Path) -> None:
    process = supervised(tmp_path, Recorder(), "trap '' TERM; sleep 600 & sleep 600")
    await process.start()
    group = process.status.pid
    await until(lambda: len(psutil.Process(group).children()) == 2)
    children = psutil.Process(group).children()
    await process.stop()
    assert not any(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in children)
    assert records_in(tmp_path) == []


async def test_a_grown_log_is_put_aside_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "small.log").write_text("old\n" * 5_000_000)
    process = supervised(tmp_path, Recorder(), "echo new; exec sleep 600")
    await process.start()
    await until(lambda: (tmp_path / "small.log").read_text() == "new\n")
    assert (tmp_path / "small.log.1").stat().st_size == 20_000_000
    await process.stop()


# ---- strays


def stray(tmp_path: Path, name: str, *, trap: str = "") -> psutil.Process:
    """A process that runs, with its trap set."""
    marker = tmp_path / f"{name}.runs"
    started = psutil.Popen(["/bin/sh", "-c", f"{trap} touch {marker}; sleep 600 & wait; sleep 600"])
    while not marker.exists():
        time.sleep(0.01)
    return psutil.Process(started.pid)


def is_alive(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def test_only_recorded_processes_are_ended_as_strays(tmp_path: Path) -> None:
    mine, reused = stray(tmp_path, "mine"), stray(tmp_path, "reused")
    RunRecord.of("mine", mine.pid, signal.SIGTERM).write(tmp_path)
    # The pid belongs to somebody who started later than the record says.
    RunRecord("reused", ProcessIdentity(reused.pid, time.time() - 86_400), int(signal.SIGTERM)).write(tmp_path)
    (tmp_path / "damaged.json").write_text("{half")
    helpers = mine.children()
    ended = end_strays(tmp_path)
    assert ended[0] == f"mine (pid {mine.pid})"
    assert not any(is_alive(process) for process in (mine, *helpers))
    assert is_alive(reused)
    assert records_in(tmp_path) == []
    for process in (*reused.children(), reused):
        process.kill()
        process.wait(5)


def test_a_stray_that_ignores_the_signal_is_killed(tmp_path: Path) -> None:
    stubborn = stray(tmp_path, "stubborn", trap="trap '' TERM;")
    RunRecord.of("stubborn", stubborn.pid, signal.SIGTERM).write(tmp_path)
    end_strays(tmp_path, patience=0.5)
    assert not is_alive(stubborn)

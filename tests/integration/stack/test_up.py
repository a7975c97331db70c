"""`stoker up` as a process: started, interrupted, killed."""

import asyncio
import contextlib
import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from stoker.stack.lock import lock_holder
from tests.support.small_stack import processes_of

ROOT = Path(__file__).parents[3]


class Up:
    """A running `stoker up --plain`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.output = folder.with_name("output.txt")
        with self.output.open("w") as stream:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.support.small_stack", str(folder)],
                cwd=ROOT,
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait_for(self, text: str, *, seconds: float = 60) -> None:
        deadline = time.monotonic() + seconds
        while text not in self.said():
            assert self.process.poll() is None, self.said()
            assert time.monotonic() < deadline, f"{text!r} not in:\n{self.said()}"
            time.sleep(0.02)

    def said(self) -> str:
        return self.output.read_text()

    def interrupt(self) -> int:
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(30)


@pytest.fixture
def start_up(tmp_path: Path) -> Iterator[Callable[[], Up]]:
    started: list[Up] = []

    def start() -> Up:
        up = Up(tmp_path / "data")
        started.append(up)
        return up

    yield start
    for up in started:
        if up.process.poll() is None:
            up.process.kill()
            up.process.wait()
    for process in processes_of(tmp_path):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


def left_after(folder: Path, *, seconds: float, besides: int | None = None) -> list[psutil.Process]:
    """What still works in the folder after some patience."""
    deadline = time.monotonic() + seconds
    while (left := [process for process in processes_of(folder) if process.pid != besides]) and (
        time.monotonic() < deadline
    ):
        time.sleep(0.1)
    return left


def test_a_whole_life_from_start_to_ctrl_c(start_up: Callable[[], Up]) -> None:
    up = start_up()
    up.wait_for("API key file:")
    stack = json.loads((up.folder / "stack.json").read_text())
    secrets = (up.folder / "keys/secrets.json").read_text() + (up.folder / "api-key").read_text()
    machine = int((up.folder / "machine.pid").read_text())

    assert stack["pid"] == up.process.pid
    assert {"nats", "postgres", "object-store", "topology-keeper", "first", "second"} == set(stack["processes"])
    assert all(psutil.pid_exists(process["pid"]) for process in stack["processes"].values())
    assert psutil.pid_exists(machine)
    assert stat.S_IMODE(up.folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in (up.folder / "keys").rglob("*") if file.is_file()} == {0o600}
    assert stat.S_IMODE((up.folder / "api-key").stat().st_mode) == 0o600

    assert up.interrupt() == 0
    assert "Stopped: nats, postgres, object-store, topology-keeper, first, second." in up.said()
    assert left_after(up.folder, seconds=1) == []
    assert not psutil.pid_exists(machine)
    assert lock_holder(up.folder / "lock") is None
    assert not (up.folder / "stack.json").exists()
    assert list((up.folder / "run").iterdir()) == []
    assert not any(secret in up.said() for secret in json.loads(secrets.partition("}")[0] + "}").values())
    assert (up.folder / "api-key").read_text().strip() not in up.said()


@pytest.mark.parametrize(
    "moment",
    [
        pytest.param("nats: starting", marks=pytest.mark.slow),
        "postgres: starting",
        pytest.param("object-store: starting", marks=pytest.mark.slow),
        pytest.param("topology-keeper: starting", marks=pytest.mark.slow),
        "second: starting",
    ],
)
def test_ctrl_c_in_the_middle_of_the_start_leaves_nothing(start_up: Callable[[], Up], moment: str) -> None:
    up = start_up()
    up.wait_for(moment)
    assert up.interrupt() == 0
    assert left_after(up.folder, seconds=1) == []
    assert lock_holder(up.folder / "lock") is None
    assert list((up.folder / "run").iterdir()) == []


def test_ctrl_c_twice_ends_everything_at_once(start_up: Callable[[], Up]) -> None:
    up = start_up()
    up.wait_for("API key file:")
    machine = int((up.folder / "machine.pid").read_text())
    up.process.send_signal(signal.SIGINT)
    time.sleep(0.05)
    up.process.send_signal(signal.SIGINT)
    assert up.process.wait(20) == 0
    assert left_after(up.folder, seconds=1) == []
    assert not psutil.pid_exists(machine)
    assert lock_holder(up.folder / "lock") is None


@pytest.mark.slow
def test_a_start_after_an_interrupted_one_uses_the_same_ports_and_works(start_up: Callable[[], Up]) -> None:
    first = start_up()
    first.wait_for("postgres: starting")
    ports = (first.folder / "ports.json").read_text()
    first.interrupt()
    second = start_up()
    second.wait_for("API key file:")
    assert (second.folder / "ports.json").read_text() == ports
    assert second.interrupt() == 0


@pytest.mark.slow
def test_a_second_up_on_the_same_folder_is_refused_and_harms_nothing(start_up: Callable[[], Up]) -> None:
    first = start_up()
    first.wait_for("API key file:")
    before = (first.folder / "stack.json").read_text()
    second = subprocess.run(
        [sys.executable, "-m", "tests.support.small_stack", str(first.folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert second.returncode == 1
    assert f"in use by process {first.process.pid}" in second.stdout
    assert "--data" in second.stdout
    assert (first.folder / "stack.json").read_text() == before
    assert first.process.poll() is None
    assert first.interrupt() == 0


def test_after_kill_9_of_the_supervisor_nothing_is_left_and_the_next_start_works(start_up: Callable[[], Up]) -> None:
    first = start_up()
    first.wait_for("API key file:")
    machine = int((first.folder / "machine.pid").read_text())
    first.process.kill()
    first.process.wait()
    # The machine is in a session of its own: nobody but the next supervisor can know it.
    assert left_after(first.folder, seconds=20, besides=machine) == []
    assert lock_holder(first.folder / "lock") is None
    assert (first.folder / "stack.json").exists()

    second = start_up()
    second.wait_for("API key file:")
    assert "left over from a supervisor that was killed" in second.said()
    assert not psutil.pid_exists(machine)
    assert second.interrupt() == 0


def test_a_killed_child_comes_back_and_stack_json_says_so(start_up: Callable[[], Up]) -> None:
    up = start_up()
    up.wait_for("API key file:")

    def pids() -> dict[str, int | None]:
        written = json.loads((up.folder / "stack.json").read_text())
        return {name: process["pid"] for name, process in written["processes"].items()}

    before = pids()
    victims = ("nats", "postgres", "object-store", "first")
    for name in victims:
        os.kill(before[name] or 0, signal.SIGKILL)
    for name in victims:
        up.wait_for(f"{name}: restarting (port")
        deadline = time.monotonic() + 30
        while up.said().rfind(f"{name}: ready") < up.said().rfind(f"{name}: restarting"):
            assert time.monotonic() < deadline, up.said()
            time.sleep(0.05)
    after = pids()
    assert all(after[name] not in (None, before[name]) for name in victims)
    assert after["topology-keeper"] == before["topology-keeper"]
    assert up.interrupt() == 0
    assert left_after(up.folder, seconds=1) == []


def test_a_machine_survives_its_training_server_but_not_the_stack(start_up: Callable[[], Up]) -> None:
    up = start_up()
    up.wait_for("API key file:")
    machine = psutil.Process(int((up.folder / "machine.pid").read_text()))
    server = json.loads((up.folder / "stack.json").read_text())["processes"]["second"]["pid"]
    os.kill(server, signal.SIGKILL)
    up.wait_for("second: restarting (port")
    assert machine.status() == psutil.STATUS_SLEEPING
    assert up.interrupt() == 0
    assert not machine.is_running()


@pytest.mark.slow
def test_an_adopted_machine_that_ends_does_not_look_alive(start_up: Callable[[], Up]) -> None:
    up = start_up()
    up.wait_for("API key file:")
    machine = psutil.Process(int((up.folder / "machine.pid").read_text()))
    server = json.loads((up.folder / "stack.json").read_text())["processes"]["second"]["pid"]
    os.kill(server, signal.SIGKILL)
    up.wait_for("second: restarting (port")
    machine.kill()
    machine.wait(10)
    assert not psutil.pid_exists(machine.pid)
    assert up.interrupt() == 0


async def test_the_data_of_one_run_is_there_in_the_next(start_up: Callable[[], Up]) -> None:
    first = start_up()
    await asyncio.to_thread(first.wait_for, "API key file:")
    key = (first.folder / "api-key").read_text()
    seeds = {file.name: file.read_text() for file in (first.folder / "keys/nkeys").iterdir()}
    await asyncio.to_thread(first.interrupt)
    second = start_up()
    await asyncio.to_thread(second.wait_for, "API key file:")
    assert (second.folder / "api-key").read_text() == key
    assert {file.name: file.read_text() for file in (second.folder / "keys/nkeys").iterdir()} == seeds
    assert await asyncio.to_thread(second.interrupt) == 0

"""Nothing of the simulated RunPod outlives what started it, whatever is killed."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.simulators.runpod.running import ROOT, running_runpod
from tests.support.small_stack import processes_of
from tests.support.waiting import wait_until

SCRIPT = "setsid sleep 4321 & trap '' TERM; env -i setsid sleep 4321 & while :; do sleep 0.2; done"
HOLDER = """
import sys, threading
from pathlib import Path
from tests.simulators.runpod.running import running_runpod
with running_runpod(Path(sys.argv[1])) as runpod, runpod.client() as api:
    body = {"name": "a", "image": "b", "gpu": {"id": "NVIDIA RTX A4000"}, "disk": 5, "args": sys.argv[2]}
    pod = api.post("/v2/pods", json=body).json()["id"]
    while len(runpod.pod(pod)["processes"]) < 3:
        threading.Event().wait(0.05)
    print("ready", flush=True)
    sys.stdin.readline()
"""


def hold(folder: Path) -> "subprocess.Popen[str]":
    """A process with a simulator whose pod has children that listen to nobody."""
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder), f'bash -c "{SCRIPT}"'],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "ready\n"
    return holder


def family(holder: "subprocess.Popen[str]") -> list[psutil.Process]:
    return psutil.Process(holder.pid).children(recursive=True)


def are_gone(processes: list[psutil.Process]) -> bool:
    return not any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in processes)


def test_after_the_block_nothing_is_left(tmp_path: Path) -> None:
    holder = hold(tmp_path / "data")
    below = family(holder)
    assert len(below) >= 5
    holder.communicate("go on\n", timeout=60)
    assert holder.returncode == 0
    assert are_gone(below)
    assert processes_of(tmp_path) == []
    assert list((tmp_path / "data" / "machines").glob("pods/*")) == []


@pytest.mark.parametrize("victim", ["test", "guard", "server"])
def test_whoever_is_killed_the_pods_die(tmp_path: Path, victim: str) -> None:
    holder = hold(tmp_path / "data")
    below = family(holder)
    guard = next(process for process in psutil.Process(holder.pid).children() if "-m" in process.cmdline())
    (server,) = [process for process in guard.children() if process.cmdline() == guard.cmdline()]
    os.kill({"test": holder.pid, "guard": guard.pid, "server": server.pid}[victim], signal.SIGKILL)
    pods = [process for process in below if process.pid not in (guard.pid, server.pid)]
    wait_until(lambda: are_gone(pods))
    if victim == "server":
        wait_until(lambda: are_gone([guard]))
    holder.kill()
    holder.communicate()
    wait_until(lambda: are_gone(below))


def test_a_simulator_that_was_killed_starts_again_without_any_pod(tmp_path: Path) -> None:
    with running_runpod(tmp_path) as runpod, runpod.client() as api:
        body = {"name": "a", "image": "b", "gpu": {"id": "NVIDIA RTX A4000"}, "disk": 5}
        pod_id = api.post("/v2/pods", json=body).json()["id"]
        wait_until(lambda: bool(runpod.pod(pod_id)["processes"]))
        (process,) = (psutil.Process(pid) for pid in runpod.pod(pod_id)["processes"])
        runpod.kill()
        wait_until(lambda: are_gone([process]))
        runpod.start()
        assert api.get("/v2/pods").json()["pods"] == []

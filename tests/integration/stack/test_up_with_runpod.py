"""`stoker up --with-runpod-simulator`: a RunPod whose pods run beside the stack, and are gone with it."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.support.small_stack import processes_of
from tests.support.waiting import wait_until

ROOT = Path(__file__).parents[3]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def up(folder: Path) -> Iterator["subprocess.Popen[bytes]"]:
    rules = folder.with_name("rules.json")
    rules.write_text('{"time_scale": 0.02}')
    surroundings = {**os.environ, "RUNPOD_SIMULATOR_RULES": str(rules)}
    with folder.with_name("output.txt").open("wb") as output:
        command = (sys.executable, "-m", "tests.support.runpod_stack", str(folder))
        process = subprocess.Popen(
            command, cwd=ROOT, env=surroundings, stdout=output, stderr=output, start_new_session=True
        )
    yield process
    process.kill()
    process.wait()
    for left in processes_of(folder.parent):
        with contextlib.suppress(psutil.NoSuchProcess):
            left.kill()


def stack(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "stack.json").read_text()))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_pods_run_while_the_stack_does_and_die_with_it(
    up: "subprocess.Popen[bytes]", folder: Path, number: signal.Signals
) -> None:
    wait_until(lambda: up.poll() is not None or (folder / "stack.json").exists(), seconds=120)
    assert up.poll() is None, folder.with_name("output.txt").read_text()
    key = (folder / "runpod-simulator" / "api-key").read_text().strip()
    headers = {"Authorization": f"Bearer {key}", "User-Agent": "stoker-test/1"}
    url = stack(folder)["urls"]["runpod_simulator"]
    deployer = psutil.Process(stack(folder)["processes"]["deployer"]["pid"])
    assert deployer.environ()["STOKER_DEPLOYER_RUNPOD_URL"] == f"{url}/v2"
    assert deployer.environ()["STOKER_DEPLOYER_RUNPOD_API_KEY"] == key

    body = {"name": "a", "image": "b", "gpu": {"id": "NVIDIA L4"}, "disk": 5, "args": "bash -c 'setsid sleep 4321; :'"}
    with httpx.Client(base_url=url, headers=headers, trust_env=False) as api:
        pod_id = api.post("/v2/pods", json=body).raise_for_status().json()["id"]
        wait_until(lambda: api.get(f"/v2/pods/{pod_id}").json()["status"] == "RUNNING")
        wait_until(lambda: any("4321" in process.cmdline() for process in processes_of(folder)))
    up.send_signal(number)
    up.wait(60)
    wait_until(lambda: not [process for process in processes_of(folder) if process.pid != up.pid])

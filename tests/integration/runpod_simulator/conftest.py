"""One simulated RunPod for a file of tests; each test begins without pods and without faults."""

import shlex
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from tests.simulators.runpod.running import RunningRunpod, running_runpod
from tests.support.waiting import wait_until

GPU = "NVIDIA RTX A4000"


@pytest.fixture(scope="module")
def _running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningRunpod]:
    with running_runpod(tmp_path_factory.mktemp("runpod")) as running:
        yield running


@pytest.fixture
def runpod(_running: RunningRunpod) -> Iterator[RunningRunpod]:
    """The simulator."""
    yield _running
    _running.heal()
    _running.set_stock("*", 8)
    _running.set_balance(100)
    for pod in _running.pods():
        if pod["status"] != "TERMINATED":
            _running.deal(pod["id"], "vanish")


@pytest.fixture
def api(runpod: RunningRunpod) -> Iterator[httpx.Client]:
    """A client with the account's key."""
    with runpod.client() as client:
        yield client


Order = Callable[..., dict[str, Any]]


@pytest.fixture
def order() -> Order:
    """The body that asks for a pod that runs a piece of bash."""

    def body(script: str = "sleep 600", **more: Any) -> dict[str, Any]:
        args = shlex.join(["bash", "-c", script])
        return {"name": "pod", "image": "runpod/pytorch", "gpu": {"id": GPU}, "disk": 20, "args": args, **more}

    return body


@pytest.fixture
def start(api: httpx.Client, order: Order) -> Callable[..., str]:
    """Asks for a pod and waits until it runs. Returns its id."""

    def started(script: str = "sleep 600", **more: Any) -> str:
        answer = api.post("/v2/pods", json=order(script, **more))
        assert answer.status_code == 201, answer.text
        pod_id = str(answer.json()["id"])
        wait_until(lambda: api.get(f"/v2/pods/{pod_id}").json()["status"] == "RUNNING")
        return pod_id

    return started

"""The simulator as a process, for tests.

    with running_runpod(tmp_path) as runpod:
        runpod.api_url, runpod.graphql_url, runpod.key     what a deployer is given
        runpod.admin                                       a client for /_admin (admin.py), with words for most of it:
        runpod.break_next("lost_answer", operation="create")
        runpod.pods(), runpod.lines(pod_id), runpod.balance()

Nothing of it outlives the test, also when the test's process is killed.
"""

import os
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx

from stoker.stack.processes import ProcessSpec
from stoker.stack.services import PASSED_ON, http_probe
from stoker.stack.standalone import LoopThread, RunningServer
from stoker.stack.supervised import Blueprint
from tests.simulators.runpod.rules import KEY_VARIABLE, Rules
from tests.support.ports import free_port

ROOT = Path(__file__).parents[3]
_PACKAGES = ("PIP_", "UV_")
QUICK = Rules(time_scale=0.02, image="none", quotas={"minute": 6_000, "hour": 100_000})
"""Pods run after half a second and start again after a fifth; none brings a Python; calls are hardly limited."""


class Controls:
    """The words of `/_admin` of a simulator, wherever it runs."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.admin = httpx.Client(base_url=f"{url}/_admin", trust_env=False, timeout=60)

    def break_next(self, kind: str, **narrowed: Any) -> None:
        """Order a fault: see faults.py for kinds, `operation`, `times`, `seconds`, `gpu`, `cloud` and `pod_id`."""
        self._order("POST", "/faults", {"kind": kind, **narrowed})

    def heal(self) -> None:
        """Take all faults back."""
        self.admin.delete("/faults").raise_for_status()

    def set_stock(self, gpu: str, count: int, *, cloud: str = "SECURE", data_center: str = "*") -> None:
        """How many GPUs there are."""
        self._order("PUT", "/stock", {"gpu": gpu, "cloud": cloud, "data_center": data_center, "count": count})

    def set_balance(self, dollars: float, *, account: str = "user") -> None:
        """What is left of an account's money."""
        self._order("PUT", f"/accounts/{account}", {"balance": dollars})

    def use_up(self, window: str, *, account: str = "user") -> None:
        """Leave no call of a window."""
        self._order("PUT", f"/accounts/{account}", {"used_up": window})

    def deal(self, pod_id: str, kind: str, **how: Any) -> None:
        """`host_death`, `eviction`, `vanish`, `container_error`, or `release` of one that is stuck."""
        self._order("POST", f"/pods/{pod_id}/fate", {"kind": kind, **how})

    def account(self, name: str = "user") -> dict[str, Any]:
        """Balance, spent, spending per hour."""
        (found,) = [account for account in self._told("/accounts") if account["name"] == name]
        return dict(found)

    def pods(self) -> list[dict[str, Any]]:
        """Every pod there ever was, with its living processes, its cost and who ended it."""
        return list(self._told("/pods"))

    def pod(self, pod_id: str) -> dict[str, Any]:
        """One of them."""
        (found,) = [pod for pod in self.pods() if pod["id"] == pod_id]
        return found

    def order(self, pod_id: str) -> dict[str, Any]:
        """The body that ordered a pod, with its environment."""
        return dict(self._told(f"/pods/{pod_id}/order"))

    def lines(self, pod_id: str, source: str | None = "container") -> list[str]:
        """What a pod printed."""
        told = self._told(f"/pods/{pod_id}/log")
        return [line["line"] for line in told if source in (None, line["source"])]

    def calls(self) -> list[dict[str, Any]]:
        """Every call of the API."""
        return list(self._told("/calls"))

    def _order(self, verb: str, path: str, body: dict[str, Any]) -> None:
        self.admin.request(verb, path, json=body).raise_for_status()

    def _told(self, path: str) -> Any:
        return self.admin.get(path).raise_for_status().json()


class RunningRunpod(RunningServer, Controls):
    """A simulator. It can be killed and started again; then its pods are gone, as is all it knew."""

    def __init__(self, blueprint: Blueprint, loop: LoopThread, *, key: str) -> None:
        RunningServer.__init__(self, blueprint, loop)
        Controls.__init__(self, f"http://127.0.0.1:{blueprint.spec.port}")
        self.api_url, self.graphql_url = f"{self.url}/v2", f"{self.url}/graphql"
        self.key = key
        self.folder = blueprint.spec.folder

    def client(self, key: str | None = None, *, agent: str = "stoker-test/1") -> httpx.Client:
        """A client of the API with a key and a name of its own."""
        headers = {"Authorization": f"Bearer {key or self.key}", "User-Agent": agent}
        return httpx.Client(base_url=self.url, headers=headers, trust_env=False, timeout=30)


@contextmanager
def running_runpod(folder: Path, rules: Rules = QUICK, *, port: int | None = None) -> Iterator[RunningRunpod]:
    """A simulator for one test, with a key of its own; its pods live in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    loop, key = LoopThread(), f"rpa_{secrets.token_hex(20)}"
    running = RunningRunpod(_blueprint(folder, rules, port or free_port(), key), loop, key=key)
    try:
        running.start()
        yield running
    finally:
        running.admin.close()
        running.stop()
        loop.close()


def _blueprint(folder: Path, rules: Rules, port: int, key: str) -> Blueprint:
    rules_file = folder / "rules.json"
    rules_file.write_text(rules.model_dump_json(context={"reveal": True}))
    rules_file.chmod(0o600)
    spec = ProcessSpec(
        name="runpod-simulator",
        command=_command(port, folder / "machines", rules_file),
        log_file=folder / "simulator.log",
        environment=_surroundings(key),
        folder=ROOT,
        port=port,
        stop_timeout=timedelta(seconds=15),
    )
    return Blueprint(spec=spec, probe=http_probe(f"http://127.0.0.1:{port}/readyz"))


def _command(port: int, folder: Path, rules_file: Path) -> tuple[str, ...]:
    program = (sys.executable, "-m", "tests.simulators.runpod", "--port", str(port))
    return (*program, "--folder", str(folder), "--rules", str(rules_file))


def _surroundings(key: str) -> dict[str, str]:
    passed_on = {name: value for name, value in os.environ.items() if name in PASSED_ON or name.startswith(_PACKAGES)}
    return {**passed_on, "PYTHONUNBUFFERED": "1", KEY_VARIABLE: key}

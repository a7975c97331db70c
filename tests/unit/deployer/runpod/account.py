"""A provider over a RunPod that respx plays, and the bodies that RunPod answers."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import respx
from pydantic import SecretStr

from stoker_deployer.providers import MachineOrder
from stoker_deployer.providers.hub import Hub
from stoker_deployer.providers.runpod import RunpodProvider, RunpodSettings, runpod_http_client
from stoker_deployer.providers.runpod.logs import LogPatience
from stoker_shared.clock import ManualClock

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
KEY = "rpa_THEKEYTHATNOBODYMAYSEE"
TOKEN = "the-job-token-that-nobody-may-see"
URL = "https://api.runpod.io/v2"
NAME = "job-00000000000000aa-1"
SETTINGS = RunpodSettings(timeout=timedelta(seconds=2), launch_timeout=timedelta(seconds=2))
QUICK = LogPatience(timedelta(seconds=1), timedelta(milliseconds=50), timedelta(seconds=2))
NO_CAPACITY = (
    "There are no longer any instances available with the requested specifications. Please refresh and try again."
)


@dataclass
class Account:
    """A provider, the routes it calls, and its clock."""

    provider: RunpodProvider
    routes: respx.MockRouter
    clock: ManualClock

    def list_is(self, *pods: Mapping[str, Any]) -> respx.Route:
        """What `GET /pods` answers from now on."""
        return self.routes.get(f"{URL}/pods").respond(json={"pods": list(pods)})


@asynccontextmanager
async def account(settings: RunpodSettings | None = None, *, key: str = KEY) -> AsyncIterator[Account]:
    """An account at a RunPod that answers only what a test says."""
    settings = settings or SETTINGS
    clock = ManualClock(NOW)
    with respx.mock(assert_all_called=False) as routes:
        async with runpod_http_client(settings) as http:
            provider = RunpodProvider(
                SecretStr(key),
                settings=settings,
                http=http,
                clock=clock,
                hub=Hub(http, provider="runpod", url="https://hub.test"),
                log_patience=QUICK,
            )
            yield Account(provider, routes, clock)


def order(**changes: Any) -> MachineOrder:
    """An order of one GPU with a token in its environment."""
    made = MachineOrder(
        name=NAME,
        gpu_type="NVIDIA GeForce RTX 4090",
        gpu_count=1,
        place="secure",
        environment={"JOB_ID": "job-00000000000000aa", "JOB_TOKEN": TOKEN},
        command=f"bash -c 'run {NAME}'",
    )
    return replace(made, **changes)


def pod(status: str = "RUNNING", **changes: Any) -> dict[str, Any]:
    """A pod as `GET /pods/{id}` shows it, made by `order()`."""
    return {
        "id": "7h9k2m4n6p",
        "name": NAME,
        "status": status,
        "actions": ["stop", "restart", "terminate"],
        "image": SETTINGS.image,
        "args": "",
        "disk": 40,
        "mounts": {"persistent": {"size": 40, "path": "/workspace"}},
        "ports": [],
        "env": {"JOB_ID": "job-00000000000000aa", "JOB_TOKEN": TOKEN, "RUNPOD_POD_ID": "7h9k2m4n6p"},
        "registry": None,
        "gpu": {"id": "NVIDIA GeForce RTX 4090", "count": 1},
        "cloud": "SECURE",
        "dataCenterId": "US-KS-2",
        "cudaVersion": "12.8",
        "ssh": {"proxy": None, "direct": None},
        "template": None,
        "cost": 0.74,
        "locked": False,
        "globalNetworking": {"enabled": False},
        "runtime": {"uptime": 60} if status == "RUNNING" else None,
        "createdAt": "2026-11-22T11:50:00Z",
        "startedAt": "2026-11-22T11:52:00Z",
        **changes,
    }


def problem(status: int, detail: str = "", **more: Any) -> httpx.Response:
    """Problem details as v2 answers them."""
    body = {"title": "Problem", "status": status, "detail": detail, **more}
    return httpx.Response(status, json=body, headers={"Content-Type": "application/problem+json"})

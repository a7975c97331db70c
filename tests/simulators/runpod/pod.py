"""One pod: what was asked for, where it stands, what it costs, and how the API shows it."""

import asyncio
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

from tests.simulators.runpod.accounts import Account
from tests.simulators.runpod.catalogue import (
    CPU_FLAVOURS,
    CUDA_VERSIONS,
    DISK_PER_GB_MONTH,
    HOURS_PER_MONTH,
    STOPPED_VOLUME_PER_GB_MONTH,
    Catalogue,
)
from tests.simulators.runpod.container import Container
from tests.simulators.runpod.logbook import LogBook
from tests.simulators.runpod.meter import Amounts, Meter
from tests.simulators.runpod.requests import CreatePod

Status = Literal["PROVISIONING", "STARTING", "RUNNING", "EXITED", "ERROR", "TERMINATED"]

ACTIONS: dict[Status, tuple[str, ...]] = {
    "PROVISIONING": ("stop", "terminate"),
    "STARTING": ("stop", "terminate"),
    "RUNNING": ("stop", "restart", "terminate"),
    "EXITED": ("start", "terminate"),
    "ERROR": ("start", "terminate"),
    "TERMINATED": (),
}
HOLDS_MACHINE: frozenset[Status] = frozenset({"PROVISIONING", "STARTING", "RUNNING", "ERROR"})
PUBLIC_IP = "198.51.100.7"  # an address for documentation: nobody is there


@dataclass
class Pod:
    """A pod. `stuck` holds it in a status; `lost`: its host is dead, and the API has not noticed."""

    id: str
    account: Account
    order: CreatePod
    data_center: str | None
    key: str
    folder: Path
    created_at: datetime
    status: Status = "PROVISIONING"
    started_at: datetime | None = None
    ended_at: datetime | None = None
    ended_by: str | None = None
    hidden_until: datetime | None = None
    stuck: Status | None = None
    locked: bool = False
    is_lost: bool = False
    restarts_before: int = 0
    container: Container | None = None
    work: asyncio.Task[None] | None = None
    log: LogBook = field(default_factory=LogBook)
    meter: Meter = field(default_factory=Meter)

    @property
    def gpu_count(self) -> int:
        """How many GPUs it holds, if it holds any."""
        return self.order.gpu.count if self.order.gpu else 0

    @property
    def has_network_volume(self) -> bool:
        """Whether a volume outlives it."""
        return bool(self.order.mounts.network)

    @property
    def keeps_workspace(self) -> bool:
        """Whether its workspace survives a stop: it stands on a volume."""
        return bool(self.order.mounts.model_fields_set)

    def set_status(self, status: Status, at: datetime, catalogue: Catalogue) -> None:
        """Another status, and what it costs from now on."""
        self.status = status
        self.meter.change(at, self.rate(catalogue))
        if status == "TERMINATED":
            self.ended_at = at

    def compute(self, catalogue: Catalogue) -> Amounts:
        """Dollars an hour for GPU or CPU."""
        if self.order.gpu is not None:
            return Amounts(gpu=catalogue.gpus[self.order.gpu.id].price(self.order.cloud) * self.order.gpu.count)
        cpu = self.order.cpu
        return Amounts(cpu=CPU_FLAVOURS[cpu.id][1] * cpu.vcpuCount) if cpu else Amounts()

    def rate(self, catalogue: Catalogue) -> Amounts | None:
        """Dollars an hour in its present status; None once it is deleted."""
        if self.status == "TERMINATED":
            return None
        volume = Decimal(self.order.mounts.persistent.size) if self._has_own_volume else Decimal(0)
        if self.status == "EXITED":
            return Amounts(disk=volume * STOPPED_VOLUME_PER_GB_MONTH / HOURS_PER_MONTH)
        disk = (Decimal(self.order.disk) + volume) * DISK_PER_GB_MONTH / HOURS_PER_MONTH
        return self.compute(catalogue) + Amounts(disk=disk)

    def shown(self, now: datetime, catalogue: Catalogue) -> dict[str, Any]:
        """As `GET /v2/pods/{id}` tells it."""
        order = self.order
        costs = self.status not in ("EXITED", "TERMINATED")
        return {
            "id": self.id,
            "name": order.name,
            "status": self.status,
            "actions": list(ACTIONS[self.status]),
            "image": order.image,
            "args": order.args,
            "disk": order.disk,
            "mounts": order.mounts.shown(),
            "ports": order.ports,
            "env": order.env,
            "registry": order.registry,
            **self._machine(),
            "cloud": order.cloud,
            "dataCenterId": self.data_center,
            "cudaVersion": CUDA_VERSIONS[-1] if order.gpu else None,
            "ssh": self._ssh(),
            "template": None,
            "cost": float(self.compute(catalogue).total) if costs else 0.0,
            "locked": self.locked,
            "globalNetworking": {"enabled": order.globalNetworking},
            "runtime": self._runtime(now),
            "createdAt": told(self.created_at),
            "startedAt": told(self.started_at) if self.started_at else None,
        }

    @property
    def _has_own_volume(self) -> bool:
        return "persistent" in self.order.mounts.model_fields_set

    def _machine(self) -> dict[str, Any]:
        if self.order.gpu is not None:
            return {"gpu": {"id": self.order.gpu.id, "count": self.order.gpu.count}}
        cpu = self.order.cpu
        memory = CPU_FLAVOURS[cpu.id][0] * cpu.vcpuCount if cpu else 1
        return {"cpu": {"id": cpu.id, "vcpuCount": cpu.vcpuCount, "memory": memory} if cpu else {}}

    def _runtime(self, now: datetime) -> dict[str, Any] | None:
        if self.status != "RUNNING" or self.is_lost or self.container is None:
            return None
        since = self.container.started_at
        uptime = int((now - since).total_seconds()) if since and self.container.is_running else 0
        ports = [port.partition("/") for port in self.order.ports]
        return {
            "uptime": max(0, uptime),
            "gpus": [{"util": 0, "memoryUtil": 0} for _ in range(self.gpu_count)],
            "cpu": {"util": 0},
            "memory": {"util": 0},
            "ports": [
                {"private": int(number), "public": 10_000 + int(number) % 50_000, "type": kind, "ip": PUBLIC_IP}
                for number, _, kind in ports
                if number.isdecimal()
            ],
        }

    def _ssh(self) -> dict[str, Any]:
        user = f"{self.id}-64410000"
        return {
            "proxy": {
                "host": "ssh.runpod.io",
                "port": 22,
                "username": user,
                "command": f"ssh {user}@ssh.runpod.io",
            },
            "direct": None,
        }


def told(moment: datetime) -> str:
    """A moment as the API tells it, to the second."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")

"""From an order of ours to the body of RunPod's `POST /pods`, and whether a pod is what was ordered."""

import json
from typing import Any

from stoker_deployer.providers.base import MachineOrder
from stoker_deployer.providers.runpod.errors import PROVIDER
from stoker_deployer.providers.runpod.limits import check_request
from stoker_deployer.providers.runpod.schemas import Pod
from stoker_deployer.providers.runpod.settings import Cloud, RunpodSettings
from stoker_shared.errors import InvalidRequest

WORKSPACE = "/workspace"
# Upstream's floor for a volume.
_LEAST_VOLUME_GB = 10
_CLOUDS: dict[str, Cloud] = {"": "secure", "secure": "secure", "community": "community"}


def volume_gb(wanted: int | None, settings: RunpodSettings) -> int:
    """The size of the disk at /workspace that a pod gets for a wish."""
    return max(wanted if wanted is not None else settings.volume_gb, _LEAST_VOLUME_GB)


def pod_request(order: MachineOrder, settings: RunpodSettings) -> dict[str, Any]:
    """The body that orders a machine.

    Raises:
        InvalidRequest: RunPod would refuse it, or rents out no such thing.
    """
    body: dict[str, Any] = {
        "name": order.name,
        "image": order.image or settings.image,
        "gpu": {"id": order.gpu_type, "count": order.gpu_count} | _cuda(order, settings),
        "cloud": _cloud(order.place).upper(),
        "args": order.command,
        "disk": settings.disk_gb,
        # Deprecated by RunPod for what cannot be made again. Ours is, and a container that comes back must find the
        # mark that it has run: the container's own disk is wiped then.
        "mounts": {"persistent": {"size": volume_gb(order.volume_size_gb, settings), "path": WORKSPACE}},
        "env": dict(order.environment),
    }
    if settings.data_centres:
        body["dataCenterIds"] = list(settings.data_centres)
    _check(order, body)
    return body


def is_as_ordered(pod: Pod, body: dict[str, Any]) -> bool:
    """Whether an existing pod came from the same order. RunPod adds variables of its own to ours."""
    return pod.image == body["image"] and pod.env is not None and body["env"].items() <= pod.env.items()


def _cuda(order: MachineOrder, settings: RunpodSettings) -> dict[str, str]:
    is_ours = order.image in (None, settings.image)
    return {"minCudaVersion": settings.min_cuda} if settings.min_cuda and is_ours else {}


def _cloud(place: str) -> Cloud:
    if place not in _CLOUDS:
        raise _impossible(f"there is no place {place!r}; RunPod has 'secure' and 'community'", "Choose one of them.")
    return _CLOUDS[place]


def _check(order: MachineOrder, body: dict[str, Any]) -> None:
    if order.gpu_count < 1:
        raise _impossible("machines without a GPU are not rented there", "Ask for at least one GPU.")
    check_request(json.dumps(body).encode(), order.environment)


def _impossible(detail: str, next_step: str) -> InvalidRequest:
    return InvalidRequest(PROVIDER, detail, next_step=next_step)

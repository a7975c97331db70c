"""The environment of a pod's first process."""

from collections.abc import Mapping

from tests.simulators.runpod.catalogue import CUDA_VERSIONS
from tests.simulators.runpod.pod import PUBLIC_IP, Pod


def pod_environment(pod: Pod, image: Mapping[str, str]) -> dict[str, str]:
    """Image, then what the owner asked for, then what the cloud puts in: nobody can hide the pod-scoped key.

    A process has no root directory of its own here, so HOME and TMPDIR are below the pod's folder, and STOKER_POD_ROOT
    stands for /workspace.
    """
    root = pod.folder
    places = {"HOME": root / "home", "TMPDIR": root / "tmp", "STOKER_POD_ROOT": root / "workspace"}
    return {
        **image,
        **pod.order.env,
        **{name: str(path) for name, path in places.items()},
        **_injected(pod),
    }


def _injected(pod: Pod) -> dict[str, str]:
    order = pod.order
    ports = {number for port in order.ports if (number := port.partition("/")[0]).isdecimal() and "tcp" in port}
    injected = {
        "RUNPOD_POD_ID": pod.id,
        "RUNPOD_API_KEY": pod.key,
        "RUNPOD_DC_ID": pod.data_center or "",
        "RUNPOD_POD_HOSTNAME": f"{pod.id}-64410000",
        "RUNPOD_GPU_COUNT": str(pod.gpu_count),
        "RUNPOD_GPU_NAME": order.gpu.id if order.gpu else "",
        "RUNPOD_CPU_COUNT": str(order.cpu.vcpuCount if order.cpu else 8 * pod.gpu_count),
        "RUNPOD_MEM_GB": str(32 * max(1, pod.gpu_count)),
        "RUNPOD_PUBLIC_IP": PUBLIC_IP,
        "CUDA_VERSION": CUDA_VERSIONS[-1],
        **{f"RUNPOD_TCP_PORT_{number}": str(10_000 + int(number) % 50_000) for number in sorted(ports)},
    }
    if order.startSsh:
        injected["PUBLIC_KEY"] = ""
    return injected

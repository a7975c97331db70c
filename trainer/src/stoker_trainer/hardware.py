"""What this machine has, and the settings that follow from it."""

import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Hardware:
    """GPUs by name (empty: CPU only) and whether they compute in bfloat16."""

    gpus: tuple[str, ...]
    has_bfloat16: bool

    @property
    def has_gpu(self) -> bool:
        """True when training runs on a GPU."""
        return bool(self.gpus)

    def dtype_name(self, wanted: str) -> str:
        """The number format of the weights; auto is float32 on CPU, where bfloat16 is 2.5 times slower."""
        if wanted != "auto":
            return wanted
        return "bfloat16" if self.has_gpu and self.has_bfloat16 else "float32"


def find_hardware() -> Hardware:
    """Ask torch which GPUs this process may use."""
    import torch

    if not torch.cuda.is_available():
        return Hardware(gpus=(), has_bfloat16=False)
    names = tuple(torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count()))
    return Hardware(gpus=names, has_bfloat16=torch.cuda.is_bf16_supported())


def dataloader_options(hardware: Hardware, environment: Mapping[str, str]) -> dict[str, Any]:
    """Worker settings. On CPU the workers would take the cores that train, so there are none."""
    workers = int(environment.get("DEFAULT_DATALOADER_NUM_WORKERS", "4")) if hardware.has_gpu else 0
    prefetch = int(environment.get("DEFAULT_DATALOADER_PREFETCH_FACTOR", "2")) if workers else None
    return {"dataloader_num_workers": workers, "dataloader_prefetch_factor": prefetch}


def host_facts(hardware: Hardware) -> dict[str, Any]:
    """What a receipt says about the machine. Memory in bytes."""
    return {
        "system": platform.platform(),
        "python": platform.python_version(),
        "cpu_count": os.cpu_count(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "gpus": list(hardware.gpus),
    }

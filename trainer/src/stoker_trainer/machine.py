"""How busy this machine is, as metrics of a step. What it cannot tell truly it does not tell."""

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from stoker_trainer.hardware import Hardware
from stoker_trainer.report import Values

SECONDS_BETWEEN_LOOKS = 5.0
_PROC_STAT = Path("/proc/stat")
_IDLE_FIELDS = slice(3, 5)  # idle and waiting for the disk


class Machine:
    """Looks at GPUs, processors and the disk of `folder`; between two looks it repeats the last one."""

    def __init__(
        self,
        hardware: Hardware,
        *,
        folder: Path,
        clock: Callable[[], float] = time.monotonic,
        proc_stat: Path = _PROC_STAT,
    ) -> None:
        self._gpus = _open_gpus(hardware)
        self._folder = folder
        self._clock = clock
        self._proc_stat = proc_stat
        self._times = _processor_times(proc_stat)
        self._next_look = clock() + SECONDS_BETWEEN_LOOKS
        self._values: Values = {}

    def values(self) -> Values:
        """Percents and bytes by name; empty until the first interval is over."""
        if self._clock() >= self._next_look:
            self._next_look = self._clock() + SECONDS_BETWEEN_LOOKS
            self._values = {**self._processors(), **self._disk(), **self._gpus()}
        return self._values

    def _processors(self) -> Values:
        before, self._times = self._times, _processor_times(self._proc_stat)
        if before is None or self._times is None:
            return {}
        passed = self._times[1] - before[1]
        return {"cpu_percent": 100.0 * (self._times[0] - before[0]) / passed} if passed > 0 else {}

    def _disk(self) -> Values:
        try:
            usage = shutil.disk_usage(self._folder)
        except OSError:
            return {}
        return {"disk_free_bytes": float(usage.free), "disk_percent": 100.0 * (usage.total - usage.free) / usage.total}


def _open_gpus(hardware: Hardware) -> Callable[[], Values]:
    if not hardware.has_gpu:
        return dict
    try:
        import pynvml
    except ImportError:
        return _told_by_torch
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return _told_by_torch
    return lambda: _told_by_nvml(pynvml)


def _told_by_nvml(nvml: Any) -> Values:
    values: Values = {}
    import torch

    for number in range(torch.cuda.device_count()):
        try:
            # By its identifier: torch counts only the devices that this process may use.
            identifier = f"GPU-{torch.cuda.get_device_properties(number).uuid}"
            handle = nvml.nvmlDeviceGetHandleByUUID(identifier)
            rates, memory = nvml.nvmlDeviceGetUtilizationRates(handle), nvml.nvmlDeviceGetMemoryInfo(handle)
        except nvml.NVMLError:
            continue
        values |= {f"gpu{number}_percent": float(rates.gpu), **_memory(number, memory.used, memory.total)}
    return values


def _told_by_torch() -> Values:
    """Memory alone: torch asks the same library for the rest."""
    import torch

    values: Values = {}
    for number in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(number)
        values |= _memory(number, total - free, total)
    return values


def _memory(number: int, used: int, total: int) -> Values:
    return {f"gpu{number}_memory_bytes": float(used), f"gpu{number}_memory_percent": 100.0 * used / total}


def _processor_times(proc_stat: Path) -> tuple[int, int] | None:
    """Ticks that were worked, and all ticks; None where the system does not tell them."""
    try:
        fields = [int(field) for field in proc_stat.read_text().splitlines()[0].split()[1:9]]
    except (OSError, ValueError, IndexError):
        return None
    return sum(fields) - sum(fields[_IDLE_FIELDS]), sum(fields)

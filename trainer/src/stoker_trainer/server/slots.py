"""The places where a job can run: CPU slots and GPUs."""

import csv
import subprocess
from dataclasses import dataclass

NVIDIA_QUERY = ("nvidia-smi", "--query-gpu=index,name,memory.total", "--format=csv,noheader,nounits")


@dataclass(frozen=True)
class Slot:
    """`gpu_index` None is a CPU slot."""

    number: int
    gpu_type: str
    gpu_index: int | None = None
    vram_bytes: int | None = None

    @property
    def is_gpu(self) -> bool:
        """True for a GPU."""
        return self.gpu_index is not None


def find_slots(*, cpu_slots: int) -> list[Slot]:
    """CPU slots first, then one slot for each GPU of this machine."""
    slots = [Slot(number, "cpu") for number in range(cpu_slots)]
    for index, name, mebibytes in find_gpus():
        slots.append(Slot(len(slots), name, gpu_index=index, vram_bytes=mebibytes << 20))
    return slots


def find_gpus() -> list[tuple[int, str, int]]:
    """Index, name and MiB of each GPU; empty without NVIDIA's tool. Asks the tool, as torch takes seconds to load."""
    try:
        answer = subprocess.run(NVIDIA_QUERY, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    rows = csv.reader(answer.stdout.splitlines(), skipinitialspace=True)
    return [(int(index), name, int(memory)) for index, name, memory in rows]

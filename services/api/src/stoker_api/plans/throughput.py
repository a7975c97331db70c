"""How fast devices train: a dated table of assumptions, in sustained 10^12 floating-point operations a second.

Low and high bracket what one device sustains in LoRA or full fine-tuning of a small to middle-sized model. For GPUs:
15 % to 45 % of the maker's dense bfloat16 peak. For the CPU row: measured, see below. None of the GPU rows has been
measured by this project; finished jobs are to replace them.
"""

import re
from dataclasses import dataclass
from datetime import date

AS_OF = date(2026, 11, 22)
_LOW_SHARE, _HIGH_SHARE = 0.15, 0.45


@dataclass(frozen=True, slots=True)
class DeviceSpeed:
    """Sustained TFLOP/s of one device. `is_known` False: the type is not in the table and the range is a guess."""

    low: float
    high: float
    basis: str
    is_known: bool = True


# The first row whose words are in the type's name counts: "H100 PCIE" before "H100".
_PEAK_TFLOPS: tuple[tuple[str, float], ...] = (
    ("B300", 2250),
    ("B200", 2250),
    ("H200", 989),
    ("H100 PCIE", 756),
    ("H100 NVL", 835),
    ("H100", 989),
    ("MI300X", 1307),
    ("A100", 312),
    ("RTX PRO 6000", 252),
    ("RTX PRO 4500", 100),
    ("RTX 6000 ADA", 182),
    ("RTX 5000 ADA", 130),
    ("RTX 4000 ADA", 53),
    ("RTX A6000", 77),
    ("RTX A5000", 55),
    ("RTX A4500", 47),
    ("RTX A4000", 38),
    ("RTX 5090", 210),
    ("RTX 4090", 165),
    ("RTX 3090", 71),
    ("L40S", 181),
    ("L40", 90),
    ("A40", 75),
    ("A10", 62),
    ("L4", 60),
    ("V100", 56),
    ("T4", 32),
)
"""Dense half-precision peak with float32 accumulation, from the makers' data sheets, rounded."""

# 6 x 134.5 M parameters x 512 tokens in 2.9 s on two cores, SmolLM2-135M LoRA, float32: 0.142. The same machine was
# up to four times slower when it was busy, and other sizes of the batch were up to a third faster.
_CPU = DeviceSpeed(low=0.035, high=0.19, basis="measured on two CPU cores, SmolLM2-135M LoRA in float32")


def device_speed(gpu_type: str, *, gpu_count: int) -> DeviceSpeed:
    """What one device of that type sustains."""
    if gpu_count == 0:
        return _CPU
    wanted = _words(gpu_type)
    for name, peak in _PEAK_TFLOPS:
        if f" {name} " in wanted:
            basis = f"{_LOW_SHARE:.0%} to {_HIGH_SHARE:.0%} of the peak of {name}, {AS_OF.isoformat()}"
            return DeviceSpeed(low=peak * _LOW_SHARE, high=peak * _HIGH_SHARE, basis=basis)
    return DeviceSpeed(low=10, high=150, basis=f"{gpu_type} is not in the table of {AS_OF.isoformat()}", is_known=False)


def _words(gpu_type: str) -> str:
    spaced = re.sub(r"[^A-Z0-9]+", " ", gpu_type.upper())
    return f" {re.sub(r'RTX(?=[0-9])', 'RTX ', spaced)} "

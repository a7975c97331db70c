"""GPU types, their prices of late August 2026, and where they stand. A fixture: real prices move by the week."""

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal

from tests.simulators.runpod.rules import Rules


@dataclass(frozen=True, slots=True)
class GpuType:
    """Memory in GB, dollars per GPU and hour; 0: not in that cloud."""

    id: str
    name: str
    memory: int
    secure: Decimal
    community: Decimal
    data_centers: tuple[str, ...]
    max_count: int = 8

    def price(self, cloud: str) -> Decimal:
        """What one costs an hour in a cloud."""
        return self.secure if cloud == "SECURE" else self.community


DATA_CENTERS = {
    "US-KS-2": ("US Kansas 2", "NORTH_AMERICA", "US"),
    "US-TX-3": ("US Texas 3", "NORTH_AMERICA", "US"),
    "CA-MTL-1": ("CA Montreal 1", "NORTH_AMERICA", "CA"),
    "EU-RO-1": ("EU Romania 1", "EUROPE", "RO"),
    "EU-SE-1": ("EU Sweden 1", "EUROPE", "SE"),
    "AP-JP-1": ("AP Japan 1", "ASIA", "JP"),
}
_EVERYWHERE = tuple(DATA_CENTERS)
_LARGE = ("US-KS-2", "US-TX-3", "EU-RO-1")
_EUROPE = ("EU-RO-1", "EU-SE-1")
CUDA_VERSIONS = ("12.4", "12.8", "13.0")

_TABLE = (
    ("NVIDIA GeForce RTX 4090", "RTX 4090", 24, "0.74", "0.34", _EVERYWHERE),
    ("NVIDIA GeForce RTX 5090", "RTX 5090", 32, "0.99", "0.69", _EVERYWHERE),
    ("NVIDIA RTX A4000", "RTX A4000", 16, "0.25", "0.17", _EVERYWHERE),
    ("NVIDIA RTX A5000", "RTX A5000", 24, "0.27", "0.16", _EVERYWHERE),
    ("NVIDIA RTX A6000", "RTX A6000", 48, "0.53", "0.33", _EVERYWHERE),
    ("NVIDIA A40", "A40", 48, "0.44", "0", _EUROPE),
    ("NVIDIA L4", "L4", 24, "0.49", "0", _EUROPE),
    ("NVIDIA L40S", "L40S", 48, "0.99", "0.79", _LARGE),
    ("NVIDIA RTX 6000 Ada Generation", "RTX 6000 Ada", 48, "0.84", "0.74", _LARGE),
    ("NVIDIA A100 80GB PCIe", "A100 PCIe", 80, "1.39", "1.19", _LARGE),
    ("NVIDIA A100-SXM4-80GB", "A100 SXM", 80, "1.59", "1.39", _LARGE),
    ("NVIDIA H100 PCIe", "H100 PCIe", 80, "2.89", "1.99", _LARGE),
    ("NVIDIA H100 80GB HBM3", "H100 SXM", 80, "3.29", "2.69", _LARGE),
    ("NVIDIA H200", "H200 SXM", 141, "4.59", "3.59", _LARGE),
    ("NVIDIA B200", "B200", 180, "6.79", "5.98", ("US-KS-2",)),
    ("NVIDIA GeForce RTX 3090", "RTX 3090", 24, "0", "0.22", _EVERYWHERE),
)
# GB of memory and dollars an hour for one virtual CPU.
CPU_FLAVOURS = {"cpu3c": (2, Decimal("0.03")), "cpu3g": (4, Decimal("0.04")), "cpu5c": (2, Decimal("0.035"))}

# Dollars per GB and month of 30 days.
DISK_PER_GB_MONTH = Decimal("0.10")
STOPPED_VOLUME_PER_GB_MONTH = Decimal("0.20")
HOURS_PER_MONTH = Decimal(720)


class Catalogue:
    """What can be rented. Stock is counted in GPUs; what runs is taken off by whoever asks."""

    def __init__(self, rules: Rules) -> None:
        self.gpus = {gpu.id: gpu for gpu in _types(rules)}
        self._stock = {
            (gpu.id, cloud, place): rules.default_stock
            for gpu in self.gpus.values()
            for cloud in ("SECURE", "COMMUNITY")
            for place in gpu.data_centers
            if gpu.price(cloud)
        }
        for entry in rules.stock:
            self.set_stock(entry.gpu, entry.cloud, entry.data_center, entry.count)

    def set_stock(self, gpu: str, cloud: str, data_center: str, count: int) -> int:
        """Set how many there are; `*` stands for any. Returns how many entries changed."""
        wanted = (gpu, cloud, data_center)
        hit = [key for key in self._stock if all(ask in ("*", has) for ask, has in zip(wanted, key, strict=True))]
        for key in hit:
            self._stock[key] = count
        return len(hit)

    def stock(self, gpu: str, cloud: str) -> dict[str, int]:
        """How many a cloud has, by data centre, before those that are rented."""
        return {place: count for (g, c, place), count in self._stock.items() if (g, c) == (gpu, cloud)}


def availability(free: int) -> str:
    """A number of free GPUs as the catalogue tells it."""
    levels = ((0, "NONE"), (3, "LOW"), (12, "MEDIUM"))
    return next((name for most, name in levels if free <= most), "HIGH")


def _types(rules: Rules) -> Iterator[GpuType]:
    for identifier, name, memory, secure, community, places in _TABLE:
        own = rules.prices.get(identifier)
        yield GpuType(
            id=identifier,
            name=name,
            memory=memory,
            secure=own.secure if own else Decimal(secure),
            community=own.community if own else Decimal(community),
            data_centers=places,
        )

"""RPC: describe, list."""

from stoker_dataset_gateway.datasets.service import DatasetService
from stoker_shared.bus import Bus, answer
from stoker_shared.rpc.dataset_gateway import DESCRIBE, LIST


def answer_datasets(bus: Bus, service: DatasetService) -> None:
    """Register on the bus."""
    answer(bus, DESCRIBE, service.describe)
    answer(bus, LIST, service.list)

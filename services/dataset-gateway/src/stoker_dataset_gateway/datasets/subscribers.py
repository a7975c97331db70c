"""RPC: describe, list, token_statistics."""

from stoker_dataset_gateway.datasets.service import DatasetService
from stoker_dataset_gateway.lengths.service import LengthService
from stoker_shared.bus import Bus, answer
from stoker_shared.rpc.dataset_gateway import DESCRIBE, LIST, TOKEN_STATISTICS


def answer_datasets(bus: Bus, service: DatasetService, lengths: LengthService) -> None:
    """Register on the bus."""
    answer(bus, TOKEN_STATISTICS, lengths.token_statistics)
    answer(bus, DESCRIBE, service.describe)
    answer(bus, LIST, service.list)

"""RPC: trainer_bundle."""

from stoker_dataset_gateway.trainer_bundles.service import TrainerBundleService
from stoker_shared.bus import Bus, answer
from stoker_shared.rpc.dataset_gateway import TRAINER_BUNDLE


def answer_trainer_bundles(bus: Bus, service: TrainerBundleService) -> None:
    """Register on the bus."""
    answer(bus, TRAINER_BUNDLE, service.current)

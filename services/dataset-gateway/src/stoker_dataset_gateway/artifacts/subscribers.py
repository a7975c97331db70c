"""RPC: list_artifacts, open_artifact, delete_artifact."""

from stoker_dataset_gateway.artifacts.service import ArtifactService
from stoker_shared.bus import Bus, answer
from stoker_shared.rpc.dataset_gateway import DELETE_ARTIFACT, LIST_ARTIFACTS, OPEN_ARTIFACT


def answer_artifacts(bus: Bus, service: ArtifactService) -> None:
    """Register on the bus."""
    answer(bus, LIST_ARTIFACTS, service.list)
    answer(bus, OPEN_ARTIFACT, service.open)
    answer(bus, DELETE_ARTIFACT, service.delete)

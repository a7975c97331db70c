"""RPC: open_upload."""

from stoker_dataset_gateway.uploads.service import UploadService
from stoker_shared.bus import Bus, answer
from stoker_shared.rpc.dataset_gateway import OPEN_UPLOAD


def answer_uploads(bus: Bus, service: UploadService) -> None:
    """Register on the bus."""
    answer(bus, OPEN_UPLOAD, service.open)

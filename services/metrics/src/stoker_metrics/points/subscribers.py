"""Questions about points, from the bus."""

from stoker_metrics.points.service import PointReader
from stoker_shared.bus import Bus, answer
from stoker_shared.rpc.metrics import POINTS


def register(bus: Bus, reader: PointReader) -> None:
    """Answer `points`."""
    answer(bus, POINTS, reader.points)

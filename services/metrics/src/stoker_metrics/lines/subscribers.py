"""Questions about lines, from the bus."""

from stoker_metrics.lines.service import LineReader
from stoker_shared.bus import Bus, answer
from stoker_shared.rpc.metrics import LINES


def register(bus: Bus, reader: LineReader) -> None:
    """Answer `lines`."""
    answer(bus, LINES, reader.lines)

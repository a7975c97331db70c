"""Questions about lines, from the bus."""

from stoker_metrics.lines.service import LineReader
from stoker_shared.bus import Bus, answer
from stoker_shared.rpc.log_search import LOG_SEARCH
from stoker_shared.rpc.metrics import LINES


def register(bus: Bus, reader: LineReader) -> None:
    """Answer `lines` and `search`."""
    answer(bus, LINES, reader.lines)
    answer(bus, LOG_SEARCH, reader.search)

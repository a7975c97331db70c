"""Questions about charts, from the bus."""

from stoker_metrics.charts.service import ChartReader
from stoker_shared.bus import Bus, answer
from stoker_shared.rpc.series import CHART, LATEST


def register(bus: Bus, reader: ChartReader) -> None:
    """Answer `chart` and `latest`."""
    answer(bus, CHART, reader.chart)
    answer(bus, LATEST, reader.latest)

"""Questions about alerts, from the bus."""

from stoker_metrics.alerts.service import AlertReader
from stoker_shared.bus import Bus, answer
from stoker_shared.rpc.alerts import ALERTS


def register(bus: Bus, reader: AlertReader) -> None:
    """Answer `alerts`."""
    answer(bus, ALERTS, reader.alerts)

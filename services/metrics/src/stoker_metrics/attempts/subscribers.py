"""Questions about attempts, from the bus."""

from stoker_metrics.attempts.service import Attempts
from stoker_shared.bus import Bus, answer
from stoker_shared.rpc.metrics import ADMIT, ORDER, REPORT, REPORTS, REVOKE


def register(bus: Bus, attempts: Attempts) -> None:
    """Answer `admit`, `revoke`, `order`, `report` and `reports`."""
    answer(bus, ADMIT, attempts.admit)
    answer(bus, REVOKE, attempts.revoke)
    answer(bus, ORDER, attempts.order)
    answer(bus, REPORT, attempts.report)
    answer(bus, REPORTS, attempts.reports)

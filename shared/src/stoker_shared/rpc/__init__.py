"""Questions that services answer each other over NATS request and reply. One file per answering service."""

from stoker_shared.rpc.alerts import ALERT_QUESTIONS
from stoker_shared.rpc.contract import Rpc
from stoker_shared.rpc.dataset_gateway import DATASET_GATEWAY
from stoker_shared.rpc.deployer import DEPLOYER
from stoker_shared.rpc.diagnosis import DIAGNOSES
from stoker_shared.rpc.log_search import SEARCHES
from stoker_shared.rpc.metrics import METRICS
from stoker_shared.rpc.notifications import NOTIFICATIONS
from stoker_shared.rpc.series import SERIES

ALL_RPCS: tuple[Rpc, ...] = (  # type: ignore[type-arg]
    *DATASET_GATEWAY,
    *DEPLOYER,
    *METRICS,
    *SERIES,
    *SEARCHES,
    *ALERT_QUESTIONS,
    *DIAGNOSES,
    *NOTIFICATIONS,
)

__all__ = ["ALL_RPCS", "DATASET_GATEWAY", "DEPLOYER", "DIAGNOSES", "METRICS", "NOTIFICATIONS", "Rpc"]

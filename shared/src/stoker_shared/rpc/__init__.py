"""Questions that services answer each other over NATS request and reply. One file per answering service."""

from stoker_shared.rpc.contract import Rpc
from stoker_shared.rpc.dataset_gateway import DATASET_GATEWAY
from stoker_shared.rpc.deployer import DEPLOYER
from stoker_shared.rpc.metrics import METRICS
from stoker_shared.rpc.notifications import NOTIFICATIONS

ALL_RPCS: tuple[Rpc, ...] = (*DATASET_GATEWAY, *DEPLOYER, *METRICS, *NOTIFICATIONS)  # type: ignore[type-arg]

__all__ = ["ALL_RPCS", "DATASET_GATEWAY", "DEPLOYER", "METRICS", "NOTIFICATIONS", "Rpc"]

"""The bus: connection, consuming with retries and dead letters, publishing with acknowledgement, RPC."""

from stoker_shared.bus.broker import Bus, BusSettings
from stoker_shared.bus.consuming import consume, consume_batches
from stoker_shared.bus.delivery import Delivery, MessageContext
from stoker_shared.bus.grouping import GroupingPublisher
from stoker_shared.bus.publishing import Acknowledgement, JetStreamPublisher
from stoker_shared.bus.rpc import RpcClient, answer

__all__ = [
    "Acknowledgement",
    "Bus",
    "BusSettings",
    "Delivery",
    "GroupingPublisher",
    "JetStreamPublisher",
    "MessageContext",
    "RpcClient",
    "answer",
    "consume",
    "consume_batches",
]

"""Outbox and inbox: a message is stored with the change that causes it, and sent until the broker has it."""

from stoker_shared.outbox.inbox import ProcessedMessage, first_time
from stoker_shared.outbox.relay import FirstMessage, Relay, RelaySettings
from stoker_shared.outbox.repository import OutboxRepository, enqueue
from stoker_shared.outbox.tables import BrokerWatermark, OutboxMessage, create_outbox_tables, drop_outbox_tables

__all__ = [
    "BrokerWatermark",
    "FirstMessage",
    "OutboxMessage",
    "OutboxRepository",
    "ProcessedMessage",
    "Relay",
    "RelaySettings",
    "create_outbox_tables",
    "drop_outbox_tables",
    "enqueue",
    "first_time",
]

"""A message as a handler gets it."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from nats.aio.msg import Msg


@dataclass(frozen=True, slots=True)
class MessageContext:
    """What a handler may want to know beside the message."""

    subject: str
    delivered: int
    stream_sequence: int
    received_at: datetime
    """When the broker stored the message; in a redelivery too."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """One message of a batch."""

    message: Any
    context: MessageContext


def context_of(raw: Msg) -> MessageContext:
    """What the broker says of a message."""
    metadata = raw.metadata
    return MessageContext(
        subject=raw.subject,
        delivered=metadata.num_delivered,
        stream_sequence=metadata.sequence.stream,
        received_at=metadata.timestamp,
    )

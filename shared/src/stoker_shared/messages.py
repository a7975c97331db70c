"""What all messages on the bus have in common."""

from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field


class Message(BaseModel):
    """Base of events, commands and RPC payloads: frozen; unknown fields of newer senders are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore", protected_namespaces=())


class Envelope(Message):
    """What each event and command carries beside its own fields."""

    event_id: UUID = Field(description="The same in every delivery; also the Nats-Msg-Id.")
    occurred_at: AwareDatetime
    schema_version: int = 1

"""Tables that each service with an outbox keeps in its own schema."""

from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field, SQLModel

from stoker_shared.database.engine import UtcColumn


class OutboxMessage(SQLModel, table=True):
    """A message that must reach the broker. Rows with the same `ordering_key` are sent in order of `id`.

    `id` is not commit order across keys; within a key the row lock on the aggregate makes it so.
    """

    __tablename__ = "outbox"

    id: int | None = Field(default=None, sa_column=sa.Column(sa.BigInteger, primary_key=True, autoincrement=True))
    event_id: UUID = Field(unique=True)
    subject: str
    ordering_key: str
    payload: dict[str, Any] = Field(sa_type=JSONB)
    headers: dict[str, str] = Field(sa_type=JSONB)
    created_at: datetime = Field(sa_type=UtcColumn)
    claimed_until: datetime | None = Field(default=None, sa_type=UtcColumn)
    claim_token: UUID | None = None
    published_at: datetime | None = Field(default=None, sa_type=UtcColumn)
    stream: str | None = None
    stream_sequence: int | None = Field(default=None, sa_type=sa.BigInteger)


class ProcessedMessage(SQLModel, table=True):
    """A message that a consumer has handled; written in the transaction of its effects."""

    __tablename__ = "processed"

    consumer: str = Field(primary_key=True)
    event_id: UUID = Field(primary_key=True)
    processed_at: datetime = Field(sa_type=UtcColumn)


class BrokerWatermark(SQLModel, table=True):
    """How far a stream had come when this service last looked. Less than that means that the broker lost messages."""

    __tablename__ = "broker_watermark"

    stream: str = Field(primary_key=True)
    created_at: datetime = Field(sa_type=UtcColumn)
    last_sequence: int = Field(sa_type=sa.BigInteger)


def create_outbox_tables() -> None:
    """For a migration's `upgrade`."""
    op.create_table(
        "outbox",
        sa.Column("id", sa.BigInteger, sa.Identity(), primary_key=True),
        sa.Column("event_id", sa.Uuid, nullable=False, unique=True),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("ordering_key", sa.Text, nullable=False),
        sa.Column("payload", JSONB, nullable=False),
        sa.Column("headers", JSONB, nullable=False),
        sa.Column("created_at", UtcColumn, nullable=False),
        sa.Column("claimed_until", UtcColumn),
        sa.Column("claim_token", sa.Uuid),
        sa.Column("published_at", UtcColumn),
        sa.Column("stream", sa.Text),
        sa.Column("stream_sequence", sa.BigInteger),
    )
    op.create_index(
        "outbox_unpublished", "outbox", ["ordering_key", "id"], postgresql_where=sa.text("published_at IS NULL")
    )
    op.create_index("outbox_published_at", "outbox", ["published_at"])
    op.create_table(
        "processed",
        sa.Column("consumer", sa.Text, primary_key=True),
        sa.Column("event_id", sa.Uuid, primary_key=True),
        sa.Column("processed_at", UtcColumn, nullable=False),
    )
    op.create_index("processed_at", "processed", ["processed_at"])
    op.create_table(
        "broker_watermark",
        sa.Column("stream", sa.Text, primary_key=True),
        sa.Column("created_at", UtcColumn, nullable=False),
        sa.Column("last_sequence", sa.BigInteger, nullable=False),
    )


def drop_outbox_tables() -> None:
    """For a migration's `downgrade`."""
    for name in ("broker_watermark", "processed", "outbox"):
        op.drop_table(name)

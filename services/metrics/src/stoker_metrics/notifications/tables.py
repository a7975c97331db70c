"""Tables of notifications."""

from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlmodel import Field

from stoker_metrics.tables import Table
from stoker_shared.database import UtcColumn


def _target() -> Any:
    return sa.Column(sa.Text, sa.ForeignKey("notification_targets.target_id", ondelete="CASCADE"), nullable=False)


class TargetRow(Table, table=True):
    """Where to send. `sealed_*` are boxes; `quiet_until`: the receiver asked to be left alone."""

    __tablename__ = "notification_targets"
    __table_args__ = (sa.UniqueConstraint("owner", "name", name="notification_targets_name"),)

    target_id: str = Field(primary_key=True, sa_type=sa.Text)
    owner: str = Field(sa_type=sa.Text)
    name: str = Field(sa_type=sa.Text)
    kind: str = Field(sa_type=sa.Text)
    sealed_address: str = Field(sa_type=sa.Text, repr=False)
    address_key_id: str = Field(sa_type=sa.Text)
    sealed_signing: str | None = Field(default=None, sa_type=sa.Text, repr=False)
    signing_key_id: str | None = Field(default=None, sa_type=sa.Text)
    previous_signing: str | None = Field(default=None, sa_type=sa.Text, repr=False)
    previous_key_id: str | None = Field(default=None, sa_type=sa.Text)
    previous_until: datetime | None = Field(default=None, sa_type=UtcColumn)
    place: str = Field(sa_type=sa.Text)
    hint: str = Field(sa_type=sa.Text)
    state: str = Field(default="active", sa_type=sa.Text)
    state_detail: str = Field(default="", sa_type=sa.Text)
    failures: int = 0
    failing_since: datetime | None = Field(default=None, sa_type=UtcColumn)
    quiet_until: datetime | None = Field(default=None, sa_type=UtcColumn)
    last_delivered_at: datetime | None = Field(default=None, sa_type=UtcColumn)
    created_at: datetime = Field(sa_type=UtcColumn)


class RuleRow(Table, table=True):
    """Of what a target is told. `project` null: of all."""

    __tablename__ = "notification_rules"
    __table_args__ = (sa.Index("notification_rules_owner", "owner"),)

    rule_id: str = Field(primary_key=True, sa_type=sa.Text)
    owner: str = Field(sa_type=sa.Text)
    target_id: str = Field(sa_column=_target())
    events: list[str] = Field(sa_type=sa.ARRAY(sa.Text))
    project: str | None = Field(default=None, sa_type=sa.Text)
    budget_share: float
    queued_after_seconds: int
    created_at: datetime = Field(sa_type=UtcColumn)


class NotifiedJobRow(Table, table=True):
    """What the events have told of a job: whose it is, and what it costs from when on.

    `last_heard_at`: when this service took the last event of it, from the job or its pods.
    """

    __tablename__ = "notification_jobs"
    __table_args__ = (
        sa.Index(
            "notification_jobs_going_on",
            "owner",
            postgresql_where=sa.text("status NOT IN ('completed', 'failed', 'cancelled')"),
        ),
        sa.Index(
            "notification_jobs_over",
            "last_heard_at",
            postgresql_where=sa.text("status IN ('completed', 'failed', 'cancelled')"),
        ),
    )

    job_id: str = Field(primary_key=True, sa_type=sa.Text)
    owner: str | None = Field(default=None, sa_type=sa.Text)
    project: str | None = Field(default=None, sa_type=sa.Text)
    budget_micro_usd: int | None = Field(default=None, sa_type=sa.BigInteger)
    sequence: int = Field(default=0, sa_type=sa.BigInteger)
    attempt: int = 0
    status: str = Field(default="queued", sa_type=sa.Text)
    status_since: datetime = Field(sa_type=UtcColumn)
    spent_micro_usd: int = Field(default=0, sa_type=sa.BigInteger)
    price_micro_usd_per_hour: int = Field(default=0, sa_type=sa.BigInteger)
    billing_started_at: datetime | None = Field(default=None, sa_type=UtcColumn)
    last_heard_at: datetime = Field(sa_type=UtcColumn)


class DeliveryRow(Table, table=True):
    """One message to one target. `payload` is the text that is signed and sent, byte for byte.

    `held_back`, `held_until`: of the message that says that alerts are held back, how many were, and until when.
    """

    __tablename__ = "notification_deliveries"
    __table_args__ = (
        sa.UniqueConstraint("target_id", "event_id", name="notification_deliveries_once"),
        sa.Index("notification_deliveries_owner", "owner", "position"),
        sa.Index(
            "notification_deliveries_waiting",
            "target_id",
            "occurred_at",
            "position",
            postgresql_where=sa.text("state = 'waiting'"),
        ),
        sa.Index("notification_deliveries_finished", "finished_at"),
        sa.Index(
            "notification_deliveries_alerts",
            "target_id",
            "job_id",
            "created_at",
            postgresql_where=sa.text("type IN ('job.alert', 'job.alerts_held_back')"),
        ),
    )

    delivery_id: str = Field(primary_key=True, sa_type=sa.Text)
    position: int | None = Field(default=None, sa_column=sa.Column(sa.BigInteger, sa.Identity(), nullable=False))
    owner: str = Field(sa_type=sa.Text)
    target_id: str = Field(sa_column=_target())
    rule_id: str | None = Field(default=None, sa_type=sa.Text)
    event_id: UUID = Field(sa_type=sa.Uuid)
    type: str = Field(sa_type=sa.Text)
    job_id: str | None = Field(default=None, sa_type=sa.Text)
    occurred_at: datetime = Field(sa_type=UtcColumn)
    payload: str = Field(sa_type=sa.Text)
    state: str = Field(sa_type=sa.Text)
    failed_attempts: int = 0
    next_attempt_at: datetime | None = Field(default=None, sa_type=UtcColumn)
    claim_token: UUID | None = Field(default=None, sa_type=sa.Uuid)
    claimed_until: datetime | None = Field(default=None, sa_type=UtcColumn)
    created_at: datetime = Field(sa_type=UtcColumn)
    finished_at: datetime | None = Field(default=None, sa_type=UtcColumn)
    held_back: int = Field(default=0, sa_column=sa.Column(sa.BigInteger, nullable=False, server_default="0"))
    held_until: datetime | None = Field(default=None, sa_type=UtcColumn)


class DeliveryAttemptRow(Table, table=True):
    """One try. Of the answer only its status."""

    __tablename__ = "notification_attempts"

    delivery_id: str = Field(
        sa_column=sa.Column(
            sa.Text, sa.ForeignKey("notification_deliveries.delivery_id", ondelete="CASCADE"), primary_key=True
        )
    )
    number: int = Field(primary_key=True)
    at: datetime = Field(sa_type=UtcColumn)
    milliseconds: int
    status: int | None = None
    error: str = Field(default="", sa_type=sa.Text)

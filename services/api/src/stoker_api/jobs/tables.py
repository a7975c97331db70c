"""Jobs as users see them, and the events that they were told by."""

from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field

from stoker_api.tables import Table
from stoker_shared.database import UtcColumn


class JobViewRow(Table, table=True):
    """The latest state of a job. `sequence` is that of the event it was taken from, 0 before the first.

    `machine_sequence` guards provider and GPU, which only some events carry. `owner` and `plan_id` are null only if the
    view was made from events alone; nobody sees it then.
    """

    __tablename__ = "job_views"
    __table_args__ = (
        sa.UniqueConstraint("owner", "idempotency_key"),
        sa.Index("job_views_newest", "owner", sa.text("created_at DESC"), sa.text("job_id DESC")),
    )

    job_id: str = Field(primary_key=True)
    owner: str | None = Field(default=None, foreign_key="users.id")
    plan_id: str | None = Field(default=None, foreign_key="plans.id")
    idempotency_key: str | None = None
    name: str = ""
    status: str
    sequence: int = 0
    attempt: int = 0
    provider: str | None = None
    gpu_type: str | None = None
    gpu_count: int | None = None
    machine_sequence: int = 0
    budget_micro_usd: int | None = Field(default=None, sa_type=sa.BigInteger)
    spent_micro_usd: int = Field(default=0, sa_type=sa.BigInteger)
    price_micro_usd_per_hour: int = Field(default=0, sa_type=sa.BigInteger)
    billing_started_at: datetime | None = Field(default=None, sa_type=UtcColumn)
    reason: str | None = None
    detail: str = ""
    cancel_requested_at: datetime | None = Field(default=None, sa_type=UtcColumn)
    created_at: datetime = Field(sa_type=UtcColumn)
    updated_at: datetime = Field(sa_type=UtcColumn)


class JobEventRow(Table, table=True):
    """One event of a job, for replay."""

    __tablename__ = "job_events"

    job_id: str = Field(primary_key=True)
    sequence: int = Field(primary_key=True)
    event_id: UUID
    payload: dict[str, Any] = Field(sa_type=JSONB)
    recorded_at: datetime = Field(sa_type=UtcColumn)

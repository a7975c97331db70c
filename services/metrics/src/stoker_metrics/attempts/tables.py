"""Attempts, their tokens, and the count of what was told of each job."""

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field

from stoker_metrics.tables import Table
from stoker_shared.database import UtcColumn


class JobToken(Table, table=True):
    """A token that one attempt may report with. An attempt may have several: see docs/decisions, job tokens."""

    __tablename__ = "job_tokens"
    __table_args__ = (sa.Index("job_tokens_attempt", "job_id", "attempt"),)

    token_sha256: str = Field(primary_key=True, sa_type=sa.Text)
    job_id: str = Field(sa_type=sa.Text)
    attempt: int
    expires_at: datetime = Field(sa_type=UtcColumn)
    created_at: datetime = Field(sa_type=UtcColumn)
    revoked_at: datetime | None = Field(default=None, sa_type=UtcColumn)


class AttemptReportRow(Table, table=True):
    """One attempt: what its pod last said, and what it is to be told.

    `owner` is null when the attempt was revoked before it was admitted. Sequences count per kind of report.
    """

    __tablename__ = "attempt_reports"

    job_id: str = Field(primary_key=True, sa_type=sa.Text)
    attempt: int = Field(primary_key=True)
    owner: str | None = Field(default=None, sa_type=sa.Text)
    admitted_at: datetime | None = Field(default=None, sa_type=UtcColumn)
    revoked_at: datetime | None = Field(default=None, sa_type=UtcColumn)
    phase: str | None = Field(default=None, sa_type=sa.Text)
    phase_since: datetime | None = Field(default=None, sa_type=UtcColumn)
    last_heard_at: datetime | None = Field(default=None, sa_type=UtcColumn)
    last_progress_at: datetime | None = Field(default=None, sa_type=UtcColumn)
    step: int = Field(default=0, sa_type=sa.BigInteger)
    heartbeat_sequence: int = Field(default=0, sa_type=sa.BigInteger)
    total_steps: int = Field(default=0, sa_type=sa.BigInteger)
    seconds_left: float | None = None
    tokens_per_second: float | None = None
    landing_seconds: float | None = None
    point_sequence: int = Field(default=0, sa_type=sa.BigInteger)
    latest_values: dict[str, float | None] = Field(default_factory=dict, sa_type=JSONB)
    older_values: dict[str, int] = Field(
        default_factory=dict, sa_column=sa.Column(JSONB, nullable=False, server_default="{}")
    )
    exit_facts: dict[str, Any] | None = Field(default=None, sa_column=sa.Column(JSONB(none_as_null=True)))
    loss_state: dict[str, Any] = Field(default_factory=dict, sa_type=JSONB)
    loss_trouble: dict[str, Any] | None = Field(default=None, sa_column=sa.Column(JSONB(none_as_null=True)))
    control_action: str = Field(default="continue", sa_type=sa.Text)
    control_reason: str | None = Field(default=None, sa_type=sa.Text)
    control_deadline: datetime | None = Field(default=None, sa_type=UtcColumn)
    standing_version: int = Field(default=0, sa_column=sa.Column(sa.BigInteger, nullable=False, server_default="0"))


class PodEventCounter(Table, table=True):
    """The sequence of the last event that was told of a job's pods."""

    __tablename__ = "pod_event_counters"

    job_id: str = Field(primary_key=True, sa_type=sa.Text)
    last_sequence: int = Field(sa_type=sa.BigInteger)

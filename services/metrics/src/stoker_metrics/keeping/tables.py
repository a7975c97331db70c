"""What is kept of each attempt."""

from datetime import date, datetime

import sqlalchemy as sa
from sqlmodel import Field

from stoker_metrics.tables import Table
from stoker_shared.database import UtcColumn


class KeptAttempt(Table, table=True):
    """One attempt that has sent points or lines. Changed only by who holds the lock of its row in `attempt_reports`.

    `day` is the day of its admission in UTC: the partition of its points and lines, the same whenever a report comes.
    `*_seen` is the highest sequence that came, `*_allowed` the highest that is kept: what lies between is counted as
    not kept, however often and in whatever order it came.
    """

    __tablename__ = "kept_attempts"
    __table_args__ = (sa.Index("kept_attempts_day", "day"),)

    job_id: str = Field(primary_key=True, sa_type=sa.Text)
    attempt: int = Field(primary_key=True)
    day: date = Field(sa_type=sa.Date)
    points_seen: int = Field(default=0, sa_type=sa.BigInteger)
    points_stored: int = Field(default=0, sa_type=sa.BigInteger)
    points_allowed: int = Field(sa_type=sa.BigInteger)
    levelled_sequence: int = Field(default=0, sa_type=sa.BigInteger)
    lines_seen: int = Field(default=0, sa_type=sa.BigInteger)
    lines_stored: int = Field(default=0, sa_type=sa.BigInteger)
    lines_allowed: int = Field(sa_type=sa.BigInteger)
    log_bytes: int = Field(default=0, sa_type=sa.BigInteger)
    log_bytes_allowed: int = Field(sa_type=sa.BigInteger)
    lines_capped_by: str | None = Field(default=None, sa_type=sa.Text)
    lines_packed: int = Field(default=0, sa_type=sa.BigInteger)
    points_dropped_at: datetime | None = Field(default=None, sa_type=UtcColumn)
    levels_dropped_at: datetime | None = Field(default=None, sa_type=UtcColumn)
    lines_dropped_at: datetime | None = Field(default=None, sa_type=UtcColumn)

"""Metric points and their down-sampled levels. The key makes a point that comes twice count once."""

from datetime import date, datetime
from typing import ClassVar

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field

from stoker_metrics.tables import Table
from stoker_shared.database import UtcColumn


class PointRow(Table, table=True):
    """Values at one step of one attempt. Partitioned by `day`, on which the attempt was admitted."""

    __tablename__ = "points"
    __table_args__: ClassVar[dict[str, str]] = {"postgresql_partition_by": "LIST (day)"}

    job_id: str = Field(primary_key=True, sa_type=sa.Text)
    attempt: int = Field(primary_key=True)
    sequence: int = Field(primary_key=True, sa_type=sa.BigInteger)
    day: date = Field(primary_key=True, sa_type=sa.Date)
    step: int = Field(sa_type=sa.BigInteger)
    at: datetime = Field(sa_type=UtcColumn)
    values: dict[str, float | None] = Field(sa_type=JSONB)


class PointBucket(Table, table=True):
    """A bucket of one metric, see `buckets.py`; the empty metric counts points of whatever metrics."""

    __tablename__ = "point_buckets"

    job_id: str = Field(primary_key=True, sa_type=sa.Text)
    attempt: int = Field(primary_key=True)
    width: int = Field(primary_key=True)
    metric: str = Field(primary_key=True, sa_type=sa.Text)
    number: int = Field(primary_key=True, sa_type=sa.BigInteger)
    first_step: int = Field(sa_type=sa.BigInteger)
    last_step: int = Field(sa_type=sa.BigInteger)
    last_sequence: int = Field(sa_type=sa.BigInteger)
    minimum: float | None = None
    maximum: float | None = None
    last: float | None = None
    count: int = Field(sa_type=sa.BigInteger)
    gaps: int = Field(sa_type=sa.BigInteger)

"""Metric points. The key makes a point that comes twice count once."""

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field

from stoker_metrics.tables import Table
from stoker_shared.database import UtcColumn


class PointRow(Table, table=True):
    """Values at one step of one attempt."""

    __tablename__ = "points"

    job_id: str = Field(primary_key=True, sa_type=sa.Text)
    attempt: int = Field(primary_key=True)
    sequence: int = Field(primary_key=True, sa_type=sa.BigInteger)
    step: int = Field(sa_type=sa.BigInteger)
    at: datetime = Field(sa_type=UtcColumn)
    values: dict[str, float | None] = Field(sa_type=JSONB)

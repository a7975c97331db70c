"""Alerts of pods."""

from datetime import datetime

import sqlalchemy as sa
from sqlmodel import Field

from stoker_metrics.tables import Table
from stoker_shared.database import UtcColumn


class AlertRow(Table, table=True):
    """Something that a person should know about an attempt."""

    __tablename__ = "alerts"
    __table_args__ = (sa.Index("alerts_by_time", "at"),)

    job_id: str = Field(primary_key=True, sa_type=sa.Text)
    attempt: int = Field(primary_key=True)
    sequence: int = Field(primary_key=True, sa_type=sa.BigInteger)
    at: datetime = Field(sa_type=UtcColumn)
    level: str = Field(sa_type=sa.Text)
    code: str = Field(sa_type=sa.Text)
    message: str = Field(sa_type=sa.Text)

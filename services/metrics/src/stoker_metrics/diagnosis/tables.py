"""Diagnoses. The key is the job's event that told the end, so an end that is told twice is diagnosed once."""

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field

from stoker_metrics.tables import Table
from stoker_shared.database import UtcColumn


class DiagnosisRow(Table, table=True):
    """Why an attempt ended. `diagnosis` is what `rpc.metrics.diagnosis` answers."""

    __tablename__ = "diagnoses"

    job_id: str = Field(primary_key=True, sa_type=sa.Text)
    job_sequence: int = Field(primary_key=True, sa_type=sa.BigInteger)
    attempt: int
    at: datetime = Field(sa_type=UtcColumn)
    cause: str = Field(sa_type=sa.Text)
    diagnosis: dict[str, Any] = Field(sa_type=JSONB)

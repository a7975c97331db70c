"""Log lines. The key makes a line that comes twice count once."""

from datetime import datetime

import sqlalchemy as sa
from sqlmodel import Field

from stoker_metrics.tables import Table
from stoker_shared.database import UtcColumn


class LineRow(Table, table=True):
    """One line of output of one attempt."""

    __tablename__ = "log_lines"

    job_id: str = Field(primary_key=True, sa_type=sa.Text)
    attempt: int = Field(primary_key=True)
    sequence: int = Field(primary_key=True, sa_type=sa.BigInteger)
    at: datetime = Field(sa_type=UtcColumn)
    stream: str = Field(sa_type=sa.Text)
    text: str = Field(sa_type=sa.Text)

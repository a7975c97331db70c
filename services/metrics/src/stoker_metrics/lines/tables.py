"""Log lines: rows while they are fresh, then chunks in the object store. The key makes a line count once."""

from datetime import date, datetime
from typing import ClassVar

import sqlalchemy as sa
from sqlmodel import Field

from stoker_metrics.tables import Table
from stoker_shared.database import UtcColumn


class LineRow(Table, table=True):
    """One line of output of one attempt. Partitioned by `day`, on which the attempt was admitted."""

    __tablename__ = "log_lines"
    __table_args__: ClassVar[dict[str, str]] = {"postgresql_partition_by": "LIST (day)"}

    job_id: str = Field(primary_key=True, sa_type=sa.Text)
    attempt: int = Field(primary_key=True)
    sequence: int = Field(primary_key=True, sa_type=sa.BigInteger)
    day: date = Field(primary_key=True, sa_type=sa.Date)
    at: datetime = Field(sa_type=UtcColumn)
    stream: str = Field(sa_type=sa.Text)
    text: str = Field(sa_type=sa.Text)


class ChunkRow(Table, table=True):
    """Lines of one attempt that are one object. It has every sequence from first to last.

    `state`: `writing`, the rows are still the truth, whoever writes may have died; `stored`, the rows are gone and the
    object has been read back; `dropped`, the object is to be deleted, then the row.
    """

    __tablename__ = "log_chunks"
    __table_args__ = (
        sa.Index("log_chunks_lines", "job_id", "attempt", "first_sequence"),
        sa.Index("log_chunks_unfinished", "created_at", postgresql_where=sa.text("state <> 'stored'")),
    )

    object_key: str = Field(primary_key=True, sa_type=sa.Text)
    job_id: str = Field(sa_type=sa.Text)
    attempt: int
    first_sequence: int = Field(sa_type=sa.BigInteger)
    last_sequence: int = Field(sa_type=sa.BigInteger)
    first_at: datetime = Field(sa_type=UtcColumn)
    last_at: datetime = Field(sa_type=UtcColumn)
    streams: list[str] = Field(sa_type=sa.ARRAY(sa.Text))
    text_bytes: int = Field(sa_type=sa.BigInteger)
    stored_bytes: int = Field(sa_type=sa.BigInteger)
    sha256: str = Field(sa_type=sa.Text)
    created_at: datetime = Field(sa_type=UtcColumn)
    state: str = Field(sa_type=sa.Text)

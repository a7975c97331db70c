"""Tokens of attempts and of downloads."""

from datetime import datetime

import sqlalchemy as sa
from sqlmodel import Field

from stoker_dataset_gateway.tables import Table
from stoker_shared.database import UtcColumn


class JobToken(Table, table=True):
    """What one attempt may store artifacts with, and renew the address of its dataset with."""

    __tablename__ = "job_tokens"
    __table_args__ = (sa.Index("job_tokens_attempt", "job_id", "attempt"),)

    token_hash: str = Field(primary_key=True)
    job_id: str
    attempt: int
    owner: str
    dataset_version_id: str | None = None
    created_at: datetime = Field(sa_type=UtcColumn)
    expires_at: datetime = Field(sa_type=UtcColumn, index=True)
    revoked_at: datetime | None = Field(default=None, sa_type=UtcColumn)


class DownloadToken(Table, table=True):
    """What fetches one file, fixed when the token is minted. A user's download has no job and no attempt."""

    __tablename__ = "download_tokens"
    __table_args__ = (sa.Index("download_tokens_attempt", "job_id", "attempt"),)

    token_hash: str = Field(primary_key=True)
    kind: str
    dataset_version_id: str | None = None
    artifact_id: str | None = None
    object_key: str
    filename: str
    sha256: str
    size_bytes: int = Field(sa_type=sa.BigInteger)
    stored_at: datetime | None = Field(default=None, sa_type=UtcColumn)
    job_id: str | None = None
    attempt: int | None = None
    created_at: datetime = Field(sa_type=UtcColumn)
    expires_at: datetime = Field(sa_type=UtcColumn, index=True)
    revoked_at: datetime | None = Field(default=None, sa_type=UtcColumn)
    used_at: datetime | None = Field(default=None, sa_type=UtcColumn)
    use_count: int = 0
    bytes_served: int = Field(default=0, sa_type=sa.BigInteger)


class Attempt(Table, table=True):
    """An attempt that tokens were minted for. Once `revoked_at` is set, a `mint` that arrives late is refused.

    `awaits_next`: it is over, its job is not; what it has stored is kept for the next attempt.
    """

    __tablename__ = "attempts"
    __table_args__ = (sa.Index("attempts_awaiting", "job_id", postgresql_where=sa.text("awaits_next")),)

    job_id: str = Field(primary_key=True)
    attempt: int = Field(primary_key=True)
    admitted_at: datetime = Field(sa_type=UtcColumn, index=True)
    revoked_at: datetime | None = Field(default=None, sa_type=UtcColumn)
    awaits_next: bool = False

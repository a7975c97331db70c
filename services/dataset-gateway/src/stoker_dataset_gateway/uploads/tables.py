"""Uploads, the tokens that open them, and the parts that the store has of them."""

from datetime import datetime
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field

from stoker_dataset_gateway.tables import Table
from stoker_shared.database import UtcColumn


class UploadState(StrEnum):
    """Where an upload stands."""

    RECEIVING = "receiving"
    CHECKING = "checking"
    STORED = "stored"
    REJECTED = "rejected"
    FAILED = "failed"
    """The bytes were not those that were announced, or are lost; they are out of the store and may be sent again."""
    GIVEN_UP = "given_up"
    EXPIRED = "expired"


TAKES_BYTES = (UploadState.RECEIVING, UploadState.FAILED)
UNFINISHED = (*TAKES_BYTES, UploadState.CHECKING)
DECIDED = (UploadState.STORED, UploadState.REJECTED)


class Upload(Table, table=True):
    """Permission to send the bytes of one version, and what has come of them.

    `offset_bytes` is what the store has: whole parts, and a tail of fewer bytes than a part in an object of its own.
    `object_key` names the multipart upload, and the object once it is complete; it belongs to this row until the
    version takes it over. `held_by` may append (or check, when all bytes are there) until `held_until`; whoever
    changes the row on behalf of a holder compares it, so that a holder that was frozen changes nothing.
    """

    __tablename__ = "uploads"
    __table_args__ = (sa.Index("uploads_to_check", "held_until", postgresql_where=sa.text("state = 'checking'")),)

    id: str = Field(primary_key=True)
    dataset_version_id: str = Field(
        sa_column=sa.Column(
            sa.Text, sa.ForeignKey("dataset_versions.id", ondelete="CASCADE"), nullable=False, index=True
        )
    )
    name: str
    filename: str
    size_bytes: int = Field(sa_type=sa.BigInteger)
    is_converted_if_possible: bool = True
    created_at: datetime = Field(sa_type=UtcColumn)
    expires_at: datetime = Field(sa_type=UtcColumn, index=True)
    state: str = UploadState.RECEIVING
    offset_bytes: int = Field(default=0, sa_type=sa.BigInteger)
    object_key: str | None = None
    store_upload: str | None = None
    tail_key: str | None = None
    tail_bytes: int = Field(default=0, sa_type=sa.BigInteger)
    held_by: str | None = None
    held_until: datetime | None = Field(default=None, sa_type=UtcColumn)
    checked_bytes: int = Field(default=0, sa_type=sa.BigInteger)
    check_failures: int = 0
    problem: dict[str, Any] | None = Field(default=None, sa_type=JSONB(none_as_null=True))


class UploadToken(Table, table=True):
    """One of the tokens of an upload. Each that was given out is good as long as the upload."""

    __tablename__ = "upload_tokens"

    token_hash: str = Field(primary_key=True)
    upload_id: str = Field(
        sa_column=sa.Column(sa.Text, sa.ForeignKey("uploads.id", ondelete="CASCADE"), nullable=False, index=True)
    )


class UploadPart(Table, table=True):
    """A part that the store has. All but the last of an upload have the same size; numbers count from 1."""

    __tablename__ = "upload_parts"

    upload_id: str = Field(
        sa_column=sa.Column(sa.Text, sa.ForeignKey("uploads.id", ondelete="CASCADE"), primary_key=True)
    )
    number: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    etag: str

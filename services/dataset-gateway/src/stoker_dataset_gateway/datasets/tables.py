"""Dataset versions."""

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field

from stoker_dataset_gateway.tables import Table
from stoker_shared.database import UtcColumn


class DatasetVersion(Table, table=True):
    """A file with this content. Once stored or rejected it never changes.

    `report` holds what the check found, in the shape of `DatasetFacts`. `object_key` is set when the bytes are safe.
    One version per owner and content, beside rejected ones.
    """

    __tablename__ = "dataset_versions"
    __table_args__ = (
        sa.Index(
            "dataset_versions_content",
            "owner",
            "sha256",
            unique=True,
            postgresql_where=sa.text("state <> 'rejected'"),
        ),
        sa.Index("dataset_versions_newest", "owner", "created_at"),
        sa.CheckConstraint("(state = 'stored') = (object_key IS NOT NULL)", name="dataset_versions_stored_has_object"),
    )

    id: str = Field(primary_key=True)
    owner: str
    name: str
    filename: str
    state: str
    sha256: str
    size_bytes: int = Field(sa_type=sa.BigInteger)
    created_at: datetime = Field(sa_type=UtcColumn)
    decided_at: datetime | None = Field(default=None, sa_type=UtcColumn)
    object_key: str | None = None
    report: dict[str, Any] = Field(default_factory=dict, sa_type=JSONB)
    event_sequence: int = 0

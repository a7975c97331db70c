"""Upload tickets."""

from datetime import datetime

import sqlalchemy as sa
from sqlmodel import Field

from stoker_dataset_gateway.tables import Table
from stoker_shared.database import UtcColumn


class Upload(Table, table=True):
    """Permission to send the bytes of one version, which takes name and size from it when it is decided on."""

    __tablename__ = "uploads"

    id: str = Field(primary_key=True)
    dataset_version_id: str = Field(
        sa_column=sa.Column(
            sa.Text, sa.ForeignKey("dataset_versions.id", ondelete="CASCADE"), nullable=False, index=True
        )
    )
    token_hash: str
    name: str
    filename: str
    size_bytes: int = Field(sa_type=sa.BigInteger)
    created_at: datetime = Field(sa_type=UtcColumn)
    expires_at: datetime = Field(sa_type=UtcColumn, index=True)

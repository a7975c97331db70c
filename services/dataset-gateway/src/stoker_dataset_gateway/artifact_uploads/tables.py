"""Uploads of artifacts by parts."""

from datetime import datetime

import sqlalchemy as sa
from sqlmodel import Field

from stoker_dataset_gateway.tables import Table
from stoker_shared.database import UtcColumn


class ArtifactUpload(Table, table=True):
    """A file on its way in. An attempt has at most one for each name that still receives.

    `checking_until`: somebody is making the parts one object and reading it back. A stored upload stays for a while,
    so that a trainer that lost the answer learns how it ended.
    """

    __tablename__ = "artifact_uploads"
    __table_args__ = (
        sa.Index(
            "artifact_uploads_receiving",
            "job_id",
            "attempt",
            "name",
            unique=True,
            postgresql_where=sa.text("state = 'receiving'"),
        ),
        sa.CheckConstraint("state IN ('receiving', 'stored')", name="artifact_uploads_state"),
    )

    id: str = Field(primary_key=True)
    job_id: str
    attempt: int
    name: str
    state: str
    sha256: str
    size_bytes: int = Field(sa_type=sa.BigInteger)
    part_bytes: int = Field(sa_type=sa.BigInteger)
    object_key: str
    store_upload: str
    touched_at: datetime = Field(sa_type=UtcColumn, index=True)
    checking_until: datetime | None = Field(default=None, sa_type=UtcColumn)

    @property
    def part_count(self) -> int:
        """Parts count from 1 to this."""
        return -(-self.size_bytes // self.part_bytes)

    def size_of_part(self, number: int) -> int:
        """Bytes of a part; only the last one may be shorter than the others."""
        return min(self.part_bytes, self.size_bytes - (number - 1) * self.part_bytes)


class ArtifactPart(Table, table=True):
    """A part that the store has. `etag` is the store's name for these bytes."""

    __tablename__ = "artifact_parts"

    upload_id: str = Field(
        sa_column=sa.Column(sa.Text, sa.ForeignKey("artifact_uploads.id", ondelete="CASCADE"), primary_key=True)
    )
    number: int = Field(primary_key=True)
    sha256: str
    etag: str

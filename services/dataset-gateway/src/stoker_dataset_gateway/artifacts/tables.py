"""Artifacts."""

from datetime import datetime

import sqlalchemy as sa
from sqlmodel import Field

from stoker_dataset_gateway.tables import Table
from stoker_shared.database import UtcColumn


class Artifact(Table, table=True):
    """A stored file of one attempt. The same name sent again with other content takes its place."""

    __tablename__ = "artifacts"
    __table_args__ = (
        sa.UniqueConstraint("job_id", "attempt", "name", name="artifacts_name"),
        sa.Index("artifacts_created", "created_at"),
    )

    id: str = Field(primary_key=True)
    job_id: str
    attempt: int
    owner: str
    name: str
    sha256: str
    size_bytes: int = Field(sa_type=sa.BigInteger)
    object_key: str
    created_at: datetime = Field(sa_type=UtcColumn)


class ArtifactCounter(Table, table=True):
    """The sequence number of the last artifact event of a job."""

    __tablename__ = "artifact_counters"

    job_id: str = Field(primary_key=True)
    event_sequence: int

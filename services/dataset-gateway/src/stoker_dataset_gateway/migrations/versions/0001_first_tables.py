"""First tables."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from stoker_shared.database import UtcColumn
from stoker_shared.outbox import create_outbox_tables, drop_outbox_tables

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    _create_datasets()
    _create_tokens()
    _create_artifacts()
    op.create_table(
        "object_writes",
        sa.Column("object_key", sa.Text, primary_key=True),
        sa.Column("purpose", sa.Text, nullable=False),
        sa.Column("busy_until", UtcColumn, nullable=False),
        sa.Column("condemned_at", UtcColumn),
    )
    op.create_index("ix_object_writes_purpose", "object_writes", ["purpose"])
    op.create_index("ix_object_writes_busy_until", "object_writes", ["busy_until"])
    create_outbox_tables()


def downgrade() -> None:
    """Take back."""
    drop_outbox_tables()
    for name in (
        "object_writes",
        "artifact_counters",
        "artifacts",
        "revoked_attempts",
        "download_tokens",
        "job_tokens",
        "uploads",
        "dataset_versions",
    ):
        op.drop_table(name)


def _create_datasets() -> None:
    op.create_table(
        "dataset_versions",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("filename", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("sha256", sa.Text, nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("created_at", UtcColumn, nullable=False),
        sa.Column("decided_at", UtcColumn),
        sa.Column("object_key", sa.Text),
        sa.Column("report", JSONB, nullable=False),
        sa.Column("event_sequence", sa.Integer, nullable=False),
        sa.CheckConstraint("(state = 'stored') = (object_key IS NOT NULL)", name="dataset_versions_stored_has_object"),
    )
    op.create_index(
        "dataset_versions_content",
        "dataset_versions",
        ["owner", "sha256"],
        unique=True,
        postgresql_where=sa.text("state <> 'rejected'"),
    )
    op.create_index("dataset_versions_newest", "dataset_versions", ["owner", "created_at"])
    op.create_table(
        "uploads",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column(
            "dataset_version_id", sa.Text, sa.ForeignKey("dataset_versions.id", ondelete="CASCADE"), nullable=False
        ),
        sa.Column("token_hash", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("filename", sa.Text, nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("created_at", UtcColumn, nullable=False),
        sa.Column("expires_at", UtcColumn, nullable=False),
    )
    op.create_index("ix_uploads_dataset_version_id", "uploads", ["dataset_version_id"])
    op.create_index("ix_uploads_expires_at", "uploads", ["expires_at"])


def _create_tokens() -> None:
    op.create_table(
        "job_tokens",
        sa.Column("token_hash", sa.Text, primary_key=True),
        sa.Column("job_id", sa.Text, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("created_at", UtcColumn, nullable=False),
        sa.Column("expires_at", UtcColumn, nullable=False),
        sa.Column("revoked_at", UtcColumn),
    )
    op.create_table(
        "download_tokens",
        sa.Column("token_hash", sa.Text, primary_key=True),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("dataset_version_id", sa.Text),
        sa.Column("artifact_id", sa.Text),
        sa.Column("object_key", sa.Text, nullable=False),
        sa.Column("filename", sa.Text, nullable=False),
        sa.Column("sha256", sa.Text, nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("job_id", sa.Text),
        sa.Column("attempt", sa.Integer),
        sa.Column("created_at", UtcColumn, nullable=False),
        sa.Column("expires_at", UtcColumn, nullable=False),
        sa.Column("revoked_at", UtcColumn),
        sa.Column("used_at", UtcColumn),
        sa.Column("use_count", sa.Integer, nullable=False),
        sa.Column("bytes_served", sa.BigInteger, nullable=False),
    )
    for table in ("job_tokens", "download_tokens"):
        op.create_index(f"{table}_attempt", table, ["job_id", "attempt"])
        op.create_index(f"ix_{table}_expires_at", table, ["expires_at"])
    op.create_table(
        "revoked_attempts",
        sa.Column("job_id", sa.Text, primary_key=True),
        sa.Column("attempt", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("revoked_at", UtcColumn, nullable=False),
    )
    op.create_index("ix_revoked_attempts_revoked_at", "revoked_attempts", ["revoked_at"])


def _create_artifacts() -> None:
    op.create_table(
        "artifacts",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("job_id", sa.Text, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("sha256", sa.Text, nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("object_key", sa.Text, nullable=False),
        sa.Column("created_at", UtcColumn, nullable=False),
        sa.UniqueConstraint("job_id", "attempt", "name", name="artifacts_name"),
    )
    op.create_table(
        "artifact_counters",
        sa.Column("job_id", sa.Text, primary_key=True),
        sa.Column("event_sequence", sa.Integer, nullable=False),
    )

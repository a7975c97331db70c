"""Artifacts in parts, trainer bundles."""

import sqlalchemy as sa
from alembic import op

from stoker_shared.database import UtcColumn

revision = "0004_artifacts"
down_revision = "0003_tokens"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "artifact_uploads",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("job_id", sa.Text, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("sha256", sa.Text, nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("part_bytes", sa.BigInteger, nullable=False),
        sa.Column("object_key", sa.Text, nullable=False),
        sa.Column("store_upload", sa.Text, nullable=False),
        sa.Column("touched_at", UtcColumn, nullable=False),
        sa.Column("checking_until", UtcColumn),
        sa.CheckConstraint("state IN ('receiving', 'stored')", name="artifact_uploads_state"),
    )
    op.create_index(
        "artifact_uploads_receiving",
        "artifact_uploads",
        ["job_id", "attempt", "name"],
        unique=True,
        postgresql_where=sa.text("state = 'receiving'"),
    )
    op.create_index("ix_artifact_uploads_touched_at", "artifact_uploads", ["touched_at"])
    op.create_table(
        "artifact_parts",
        sa.Column("upload_id", sa.Text, sa.ForeignKey("artifact_uploads.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("sha256", sa.Text, nullable=False),
        sa.Column("etag", sa.Text, nullable=False),
    )
    op.create_index("artifacts_created", "artifacts", ["created_at"])
    op.create_table(
        "trainer_bundles",
        sa.Column("sha256", sa.Text, primary_key=True),
        sa.Column("version", sa.Text, nullable=False),
        sa.Column("filename", sa.Text, nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("object_key", sa.Text, nullable=False),
        sa.Column("created_at", UtcColumn, nullable=False),
    )


def downgrade() -> None:
    """Take back."""
    op.drop_table("trainer_bundles")
    op.drop_index("artifacts_created", "artifacts")
    op.drop_table("artifact_parts")
    op.drop_table("artifact_uploads")

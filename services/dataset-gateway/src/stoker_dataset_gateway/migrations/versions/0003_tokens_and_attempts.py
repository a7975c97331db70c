"""Attempts as rows, the dataset of a job token, the age of a file."""

import sqlalchemy as sa
from alembic import op

from stoker_shared.database import UtcColumn

revision = "0003_tokens"
down_revision = "0002_uploads"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.rename_table("revoked_attempts", "attempts")
    op.drop_index("ix_revoked_attempts_revoked_at", "attempts")
    op.alter_column("attempts", "revoked_at", nullable=True)
    op.add_column("attempts", sa.Column("admitted_at", UtcColumn))
    op.execute("UPDATE attempts SET admitted_at = revoked_at")
    op.alter_column("attempts", "admitted_at", nullable=False)
    op.create_index("ix_attempts_admitted_at", "attempts", ["admitted_at"])
    op.add_column("job_tokens", sa.Column("dataset_version_id", sa.Text))
    op.add_column("download_tokens", sa.Column("stored_at", UtcColumn))


def downgrade() -> None:
    """Take back."""
    op.drop_column("download_tokens", "stored_at")
    op.drop_column("job_tokens", "dataset_version_id")
    op.execute("DELETE FROM attempts WHERE revoked_at IS NULL")
    op.drop_index("ix_attempts_admitted_at", "attempts")
    op.drop_column("attempts", "admitted_at")
    op.alter_column("attempts", "revoked_at", nullable=False)
    op.create_index("ix_revoked_attempts_revoked_at", "attempts", ["revoked_at"])
    op.rename_table("attempts", "revoked_attempts")

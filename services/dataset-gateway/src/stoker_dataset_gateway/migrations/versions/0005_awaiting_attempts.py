"""Attempts that are over while their job is not."""

import sqlalchemy as sa
from alembic import op

revision = "0005_awaiting"
down_revision = "0004_artifacts"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.add_column("attempts", sa.Column("awaits_next", sa.Boolean, nullable=False, server_default=sa.false()))
    op.create_index("attempts_awaiting", "attempts", ["job_id"], postgresql_where=sa.text("awaits_next"))


def downgrade() -> None:
    """Take back."""
    op.drop_index("attempts_awaiting")
    op.drop_column("attempts", "awaits_next")

"""Finding old alerts, for retention."""

from alembic import op

revision = "0010_alerts_by_time"
down_revision = "0009_older_values"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_index("alerts_by_time", "alerts", ["at"])


def downgrade() -> None:
    """Take back."""
    op.drop_index("alerts_by_time")

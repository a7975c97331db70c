"""How long landing takes on the machine of an attempt."""

import sqlalchemy as sa
from alembic import op

revision = "0003_money"
down_revision = "0002_queue"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.add_column("attempt_reports", sa.Column("landing_seconds", sa.Float))


def downgrade() -> None:
    """Take back."""
    op.drop_column("attempt_reports", "landing_seconds")

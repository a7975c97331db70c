"""Which points told the latest values, so that a late one does not lose to one that is older still."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0009_older_values"
down_revision = "0008_held_back"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    # Of attempts there are, who told which value is not known: it counts as told by the newest point.
    op.add_column("attempt_reports", sa.Column("older_values", JSONB, nullable=False, server_default="{}"))


def downgrade() -> None:
    """Take back."""
    op.drop_column("attempt_reports", "older_values")

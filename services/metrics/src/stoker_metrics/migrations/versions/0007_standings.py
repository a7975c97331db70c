"""Which state of an attempt's tokens and orders is the newer one."""

import sqlalchemy as sa
from alembic import op

revision = "0007_standings"
down_revision = "0006_notifications"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.add_column("attempt_reports", sa.Column("standing_version", sa.BigInteger, nullable=False, server_default="0"))


def downgrade() -> None:
    """Take back."""
    op.drop_column("attempt_reports", "standing_version")

"""What watchdogs go by: since when a phase lasts, and what the loss says."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from stoker_shared.database import UtcColumn

revision = "0002_queue"
down_revision = "0001"


def upgrade() -> None:
    """Apply."""
    op.add_column("attempt_reports", sa.Column("phase_since", UtcColumn))
    op.add_column("attempt_reports", sa.Column("loss_state", JSONB, nullable=False, server_default="{}"))
    op.add_column("attempt_reports", sa.Column("loss_trouble", JSONB))


def downgrade() -> None:
    """Take back."""
    for name in ("phase_since", "loss_state", "loss_trouble"):
        op.drop_column("attempt_reports", name)

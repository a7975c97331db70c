"""The outbox tables."""

from stoker_shared.outbox import create_outbox_tables, drop_outbox_tables

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Apply."""
    create_outbox_tables()


def downgrade() -> None:
    """Take back."""
    drop_outbox_tables()

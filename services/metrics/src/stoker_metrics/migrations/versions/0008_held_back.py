"""Alerts that are held back, counted with the delivery that says so; when a job was last heard of."""

import sqlalchemy as sa
from alembic import op

from stoker_shared.database import UtcColumn

revision = "0008_held_back"
down_revision = "0007_standings"
branch_labels = None
depends_on = None

_DELIVERIES = "notification_deliveries"
_JOBS = "notification_jobs"


def upgrade() -> None:
    """Apply."""
    op.add_column(_DELIVERIES, sa.Column("held_back", sa.BigInteger, nullable=False, server_default="0"))
    op.add_column(_DELIVERIES, sa.Column("held_until", UtcColumn))
    op.create_index(
        "notification_deliveries_alerts",
        _DELIVERIES,
        ["target_id", "job_id", "created_at"],
        postgresql_where=sa.text("type IN ('job.alert', 'job.alerts_held_back')"),
    )
    # When the jobs there are were last heard of nobody knows; not later than now.
    op.add_column(_JOBS, sa.Column("last_heard_at", UtcColumn, nullable=False, server_default=sa.func.now()))
    op.alter_column(_JOBS, "last_heard_at", server_default=None)
    op.create_index(
        "notification_jobs_over",
        _JOBS,
        ["last_heard_at"],
        postgresql_where=sa.text("status IN ('completed', 'failed', 'cancelled')"),
    )


def downgrade() -> None:
    """Take back."""
    op.drop_index("notification_jobs_over")
    op.drop_column(_JOBS, "last_heard_at")
    op.drop_index("notification_deliveries_alerts")
    op.drop_column(_DELIVERIES, "held_until")
    op.drop_column(_DELIVERIES, "held_back")

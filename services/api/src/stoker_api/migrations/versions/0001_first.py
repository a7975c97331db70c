"""Users, keys, recipes, plans, job views and events, outbox."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from stoker_shared.database import UtcColumn
from stoker_shared.outbox import create_outbox_tables, drop_outbox_tables

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make all tables."""
    _create_accounts()
    _create_recipes()
    _create_plans()
    _create_jobs()
    create_outbox_tables()


def downgrade() -> None:
    """Drop all tables."""
    drop_outbox_tables()
    for name in ("job_events", "job_views", "plans", "recipes", "api_keys", "users"):
        op.drop_table(name)


def _create_accounts() -> None:
    op.create_table(
        "users",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("name", sa.Text, nullable=False, unique=True),
        sa.Column("is_admin", sa.Boolean, nullable=False),
        sa.Column("created_at", UtcColumn, nullable=False),
    )
    op.create_table(
        "api_keys",
        sa.Column("key_sha256", sa.Text, primary_key=True),
        sa.Column("owner", sa.Text, sa.ForeignKey("users.id"), nullable=False, index=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("created_at", UtcColumn, nullable=False),
        sa.Column("expires_at", UtcColumn),
        sa.Column("revoked_at", UtcColumn),
    )


def _create_recipes() -> None:
    op.create_table(
        "recipes",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("owner", sa.Text, sa.ForeignKey("users.id"), nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("document", JSONB, nullable=False),
        sa.Column("created_at", UtcColumn, nullable=False),
        sa.UniqueConstraint("owner", "name", "version"),
    )


def _create_plans() -> None:
    op.create_table(
        "plans",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("owner", sa.Text, sa.ForeignKey("users.id"), nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("provider", sa.Text, nullable=False),
        sa.Column("plan_hash", sa.Text, nullable=False),
        sa.Column("frozen", sa.Text, nullable=False),
        sa.Column("answer", JSONB, nullable=False),
        sa.Column("environment", JSONB, nullable=False),
        sa.Column("is_launchable", sa.Boolean, nullable=False),
        sa.Column("created_at", UtcColumn, nullable=False),
        sa.Column("expires_at", UtcColumn, nullable=False),
        sa.Column("checked_at", UtcColumn, nullable=False),
    )


def _create_jobs() -> None:
    op.create_table(
        "job_views",
        sa.Column("job_id", sa.Text, primary_key=True),
        sa.Column("owner", sa.Text, sa.ForeignKey("users.id")),
        sa.Column("plan_id", sa.Text, sa.ForeignKey("plans.id")),
        sa.Column("idempotency_key", sa.Text),
        sa.Column("name", sa.Text, nullable=False, server_default=""),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("sequence", sa.Integer, nullable=False, server_default="0"),
        sa.Column("attempt", sa.Integer, nullable=False, server_default="0"),
        sa.Column("provider", sa.Text),
        sa.Column("gpu_type", sa.Text),
        sa.Column("gpu_count", sa.Integer),
        sa.Column("machine_sequence", sa.Integer, nullable=False, server_default="0"),
        sa.Column("budget_micro_usd", sa.BigInteger),
        sa.Column("spent_micro_usd", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("price_micro_usd_per_hour", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("billing_started_at", UtcColumn),
        sa.Column("reason", sa.Text),
        sa.Column("detail", sa.Text, nullable=False, server_default=""),
        sa.Column("cancel_requested_at", UtcColumn),
        sa.Column("created_at", UtcColumn, nullable=False),
        sa.Column("updated_at", UtcColumn, nullable=False),
        sa.UniqueConstraint("owner", "idempotency_key"),
    )
    op.create_index("job_views_newest", "job_views", ["owner", sa.text("created_at DESC"), sa.text("job_id DESC")])
    op.create_table(
        "job_events",
        sa.Column("job_id", sa.Text, primary_key=True),
        sa.Column("sequence", sa.Integer, primary_key=True),
        sa.Column("event_id", sa.Uuid, nullable=False),
        sa.Column("payload", JSONB, nullable=False),
        sa.Column("recorded_at", UtcColumn, nullable=False),
    )

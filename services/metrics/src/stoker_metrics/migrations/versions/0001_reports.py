"""Attempts and their tokens, points, log lines, alerts, outbox."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from stoker_shared.database import UtcColumn
from stoker_shared.outbox import create_outbox_tables, drop_outbox_tables

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TABLES = ("pod_event_counters", "alerts", "log_lines", "points", "attempt_reports", "job_tokens")


def upgrade() -> None:
    """Apply."""
    _create_attempts()
    op.create_table(
        "points",
        *_item_key(),
        sa.Column("step", sa.BigInteger, nullable=False),
        sa.Column("at", UtcColumn, nullable=False),
        sa.Column("values", JSONB, nullable=False),
        sa.PrimaryKeyConstraint("job_id", "attempt", "sequence"),
    )
    op.create_table(
        "log_lines",
        *_item_key(),
        sa.Column("at", UtcColumn, nullable=False),
        sa.Column("stream", sa.Text, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("job_id", "attempt", "sequence"),
    )
    op.create_table(
        "alerts",
        *_item_key(),
        sa.Column("at", UtcColumn, nullable=False),
        sa.Column("level", sa.Text, nullable=False),
        sa.Column("code", sa.Text, nullable=False),
        sa.Column("message", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("job_id", "attempt", "sequence"),
    )
    op.create_table(
        "pod_event_counters",
        sa.Column("job_id", sa.Text, primary_key=True),
        sa.Column("last_sequence", sa.BigInteger, nullable=False),
    )
    create_outbox_tables()


def downgrade() -> None:
    """Take back."""
    drop_outbox_tables()
    for name in TABLES:
        op.drop_table(name)


def _create_attempts() -> None:
    op.create_table(
        "job_tokens",
        sa.Column("token_sha256", sa.Text, primary_key=True),
        sa.Column("job_id", sa.Text, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("expires_at", UtcColumn, nullable=False),
        sa.Column("created_at", UtcColumn, nullable=False),
        sa.Column("revoked_at", UtcColumn),
    )
    op.create_index("job_tokens_attempt", "job_tokens", ["job_id", "attempt"])
    op.create_table(
        "attempt_reports",
        sa.Column("job_id", sa.Text, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("owner", sa.Text),
        sa.Column("admitted_at", UtcColumn),
        sa.Column("revoked_at", UtcColumn),
        sa.Column("phase", sa.Text),
        sa.Column("last_heard_at", UtcColumn),
        sa.Column("last_progress_at", UtcColumn),
        _counter("step"),
        _counter("heartbeat_sequence"),
        _counter("total_steps"),
        sa.Column("seconds_left", sa.Float),
        sa.Column("tokens_per_second", sa.Float),
        _counter("point_sequence"),
        sa.Column("latest_values", JSONB, nullable=False, server_default="{}"),
        sa.Column("exit_facts", JSONB),
        sa.Column("control_action", sa.Text, nullable=False, server_default="continue"),
        sa.Column("control_reason", sa.Text),
        sa.Column("control_deadline", UtcColumn),
        sa.PrimaryKeyConstraint("job_id", "attempt"),
    )


def _counter(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger, nullable=False, server_default="0")


def _item_key() -> list[sa.Column[str] | sa.Column[int]]:
    return [
        sa.Column("job_id", sa.Text, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("sequence", sa.BigInteger, nullable=False),
    ]

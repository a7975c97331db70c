"""Jobs, attempts, cancellations, ledger and outbox."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from stoker_shared.database import UtcColumn
from stoker_shared.outbox import create_outbox_tables, drop_outbox_tables

revision = "0001"
down_revision = None


def upgrade() -> None:
    _create_jobs()
    _create_attempts()
    op.create_table(
        "cancellations",
        sa.Column("job_id", sa.Text, primary_key=True),
        sa.Column("requested_by", sa.Text, nullable=False),
        sa.Column("why", sa.Text, nullable=False),
        sa.Column("requested_at", UtcColumn, nullable=False),
    )
    _create_ledger()
    create_outbox_tables()


def downgrade() -> None:
    drop_outbox_tables()
    for name in ("ledger_entries", "cancellations", "attempts", "jobs"):
        op.drop_table(name)


def _create_jobs() -> None:
    op.create_table(
        "jobs",
        sa.Column("job_id", sa.Text, primary_key=True),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("command", JSONB, nullable=False),
        sa.Column("budget_micro_usd", sa.BigInteger, nullable=False),
        sa.Column("max_attempts", sa.Integer, nullable=False),
        sa.Column("max_duration_seconds", sa.Integer, nullable=False),
        sa.Column("created_at", UtcColumn, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("sequence", sa.Integer, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("end_reason", sa.Text),
        sa.Column("end_detail", sa.Text, nullable=False),
        sa.Column("next_attempt_at", UtcColumn),
        sa.Column("ended_at", UtcColumn),
        sa.Column("next_check_at", UtcColumn),
        sa.Column("check_failures", sa.Integer, nullable=False),
        sa.Column("wakes", sa.Integer, nullable=False),
        sa.Column("lock_token", sa.Uuid),
        sa.Column("lock_owner", sa.Text),
        sa.Column("lock_expires_at", UtcColumn),
    )
    op.create_index("jobs_due", "jobs", ["next_check_at"], postgresql_where=sa.text("next_check_at IS NOT NULL"))
    op.create_index(
        "jobs_alive",
        "jobs",
        ["status", "created_at"],
        postgresql_where=sa.text("status NOT IN ('completed', 'failed', 'cancelled')"),
    )


def _create_attempts() -> None:
    op.create_table(
        "attempts",
        sa.Column("job_id", sa.Text, sa.ForeignKey("jobs.job_id"), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("provider", sa.Text, nullable=False),
        sa.Column("gpu_type", sa.Text, nullable=False),
        sa.Column("gpu_count", sa.Integer, nullable=False),
        sa.Column("place", sa.Text, nullable=False),
        sa.Column("price_micro_usd_per_hour", sa.BigInteger, nullable=False),
        sa.Column("machine_name", sa.Text, nullable=False, unique=True),
        sa.Column("intent_at", UtcColumn, nullable=False),
        sa.Column("refused_at", UtcColumn),
        sa.Column("handle", sa.Text),
        sa.Column("launched_at", UtcColumn),
        sa.Column("billing_started_at", UtcColumn),
        sa.Column("billing_ended_at", UtcColumn),
        sa.Column("accrued_at", UtcColumn),
        sa.Column("absent_since", UtcColumn),
        sa.Column("exited_since", UtcColumn),
        sa.Column("report_missed_at", UtcColumn),
        sa.Column("terminate_calls", sa.Integer, nullable=False),
        sa.Column("end_reason", sa.Text),
        sa.Column("end_detail", sa.Text, nullable=False),
        sa.Column("ended_at", UtcColumn),
    )


def _create_ledger() -> None:
    op.create_table(
        "ledger_entries",
        sa.Column("entry_id", sa.Uuid, primary_key=True),
        sa.Column("job_id", sa.Text, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("debit", sa.Text, nullable=False),
        sa.Column("credit", sa.Text, nullable=False),
        sa.Column("amount", sa.BigInteger, nullable=False),
        sa.Column("at", UtcColumn, nullable=False),
        sa.Column("key", sa.Text, nullable=False, unique=True),
        sa.CheckConstraint("amount >= 0", name="ledger_amount_not_negative"),
        sa.CheckConstraint("debit <> credit", name="ledger_two_accounts"),
        sa.CheckConstraint("kind IN ('reserve', 'accrue', 'settle', 'release')", name="ledger_kind_known"),
    )
    op.create_index("ledger_entries_job", "ledger_entries", ["job_id"])

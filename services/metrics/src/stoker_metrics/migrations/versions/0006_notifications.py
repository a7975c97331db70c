"""Notifications: targets, rules, what is known of jobs, deliveries and their attempts."""

import sqlalchemy as sa
from alembic import op

from stoker_shared.database import UtcColumn

revision = "0006_notifications"
down_revision = "0005_diagnoses"
branch_labels = None
depends_on = None

_NAMES = (
    "notification_attempts",
    "notification_deliveries",
    "notification_jobs",
    "notification_rules",
    "notification_targets",
)


def upgrade() -> None:
    """Apply."""
    _targets()
    _rules()
    _jobs()
    _deliveries()
    op.create_table(
        "notification_attempts",
        sa.Column(
            "delivery_id",
            sa.Text,
            sa.ForeignKey("notification_deliveries.delivery_id", ondelete="CASCADE"),
            primary_key=True,
        ),
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("at", UtcColumn, nullable=False),
        sa.Column("milliseconds", sa.Integer, nullable=False),
        sa.Column("status", sa.Integer),
        sa.Column("error", sa.Text, nullable=False),
    )


def downgrade() -> None:
    """Take back."""
    for name in _NAMES:
        op.drop_table(name)


def _targets() -> None:
    op.create_table(
        "notification_targets",
        sa.Column("target_id", sa.Text, primary_key=True),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("owner", "name", "kind", "sealed_address")),
        sa.Column("address_key_id", sa.Text, nullable=False),
        *(sa.Column(name, sa.Text) for name in ("sealed_signing", "signing_key_id")),
        *(sa.Column(name, sa.Text) for name in ("previous_signing", "previous_key_id")),
        sa.Column("previous_until", UtcColumn),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("place", "hint", "state", "state_detail")),
        sa.Column("failures", sa.Integer, nullable=False),
        *(sa.Column(name, UtcColumn) for name in ("failing_since", "quiet_until", "last_delivered_at")),
        sa.Column("created_at", UtcColumn, nullable=False),
        sa.UniqueConstraint("owner", "name", name="notification_targets_name"),
    )


def _rules() -> None:
    op.create_table(
        "notification_rules",
        sa.Column("rule_id", sa.Text, primary_key=True),
        sa.Column("owner", sa.Text, nullable=False),
        _target(),
        sa.Column("events", sa.ARRAY(sa.Text), nullable=False),
        sa.Column("project", sa.Text),
        sa.Column("budget_share", sa.Float, nullable=False),
        sa.Column("queued_after_seconds", sa.Integer, nullable=False),
        sa.Column("created_at", UtcColumn, nullable=False),
    )
    op.create_index("notification_rules_owner", "notification_rules", ["owner"])


def _jobs() -> None:
    op.create_table(
        "notification_jobs",
        sa.Column("job_id", sa.Text, primary_key=True),
        *(sa.Column(name, sa.Text) for name in ("owner", "project")),
        sa.Column("budget_micro_usd", sa.BigInteger),
        sa.Column("sequence", sa.BigInteger, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("status_since", UtcColumn, nullable=False),
        *(sa.Column(name, sa.BigInteger, nullable=False) for name in ("spent_micro_usd", "price_micro_usd_per_hour")),
        sa.Column("billing_started_at", UtcColumn),
    )
    op.create_index(
        "notification_jobs_going_on",
        "notification_jobs",
        ["owner"],
        postgresql_where=sa.text("status NOT IN ('completed', 'failed', 'cancelled')"),
    )


def _deliveries() -> None:
    op.create_table(
        "notification_deliveries",
        sa.Column("delivery_id", sa.Text, primary_key=True),
        sa.Column("position", sa.BigInteger, sa.Identity(), nullable=False),
        sa.Column("owner", sa.Text, nullable=False),
        _target(),
        sa.Column("rule_id", sa.Text),
        sa.Column("event_id", sa.Uuid, nullable=False),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("job_id", sa.Text),
        sa.Column("occurred_at", UtcColumn, nullable=False),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("payload", "state")),
        sa.Column("failed_attempts", sa.Integer, nullable=False),
        sa.Column("next_attempt_at", UtcColumn),
        sa.Column("claim_token", sa.Uuid),
        sa.Column("claimed_until", UtcColumn),
        sa.Column("created_at", UtcColumn, nullable=False),
        sa.Column("finished_at", UtcColumn),
        sa.UniqueConstraint("target_id", "event_id", name="notification_deliveries_once"),
    )
    op.create_index("notification_deliveries_owner", "notification_deliveries", ["owner", "position"])
    op.create_index("notification_deliveries_finished", "notification_deliveries", ["finished_at"])
    op.create_index(
        "notification_deliveries_waiting",
        "notification_deliveries",
        ["target_id", "occurred_at", "position"],
        postgresql_where=sa.text("state = 'waiting'"),
    )


def _target() -> sa.Column[str]:
    place = sa.ForeignKey("notification_targets.target_id", ondelete="CASCADE")
    return sa.Column("target_id", sa.Text, place, nullable=False)

"""The queue's columns of jobs, the watchdog's of attempts, and machines that nobody should have."""

import sqlalchemy as sa
from alembic import op

from stoker_shared.database import UtcColumn

revision = "0002_queue"
down_revision = "0001"

ATTEMPT_COLUMNS = ("terminating_since", "stall_told_at")
JOB_COLUMNS = ("project", "priority", "provider", "waits_for")


def upgrade() -> None:
    op.add_column("jobs", sa.Column("project", sa.Text, nullable=False, server_default="default"))
    op.add_column("jobs", sa.Column("priority", sa.Integer, nullable=False, server_default="0"))
    op.add_column("jobs", sa.Column("provider", sa.Text))
    op.add_column("jobs", sa.Column("waits_for", sa.Text, nullable=False, server_default=""))
    op.execute("""
        UPDATE jobs SET project = coalesce(command ->> 'project', 'default'),
                        priority = coalesce((command ->> 'priority')::int, 0)
    """)
    op.execute("""
        UPDATE jobs SET provider = a.provider FROM attempts a
        WHERE a.job_id = jobs.job_id AND a.number = jobs.attempt AND jobs.status <> 'queued'
    """)
    op.create_index(
        "jobs_waiting",
        "jobs",
        ["owner", "project", "provider", sa.text("priority DESC"), "created_at"],
        postgresql_where=sa.text("status = 'queued'"),
    )
    op.create_table(
        "queue_turns",
        sa.Column("owner", sa.Text, primary_key=True),
        sa.Column("began_at", UtcColumn, nullable=False),
    )
    for name in ATTEMPT_COLUMNS:
        op.add_column("attempts", sa.Column(name, UtcColumn))
    op.create_table(
        "stray_machines",
        sa.Column("provider", sa.Text, primary_key=True),
        sa.Column("handle", sa.Text, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("is_known", sa.Boolean, nullable=False),
        sa.Column("first_seen_at", UtcColumn, nullable=False),
        sa.Column("last_seen_at", UtcColumn, nullable=False),
        sa.Column("costs_since", UtcColumn),
        sa.Column("booked_micro_usd", sa.BigInteger, nullable=False),
    )


def downgrade() -> None:
    op.drop_table("stray_machines")
    for name in ATTEMPT_COLUMNS:
        op.drop_column("attempts", name)
    op.drop_table("queue_turns")
    op.drop_index("jobs_waiting", "jobs")
    for name in JOB_COLUMNS:
        op.drop_column("jobs", name)

"""Budgets of users and projects, landing, bills."""

import sqlalchemy as sa
from alembic import op

from stoker_shared.database import UtcColumn

revision = "0003_money"
down_revision = "0002_queue"

_PROJECT = "'project:' || j.owner || '/' || coalesce(j.command ->> 'project', 'default')"
# Money that left or came back to a job's budget before there were levels above it passed through them all the same.
_POST_ABOVE = f"""
INSERT INTO ledger_entries (entry_id, job_id, attempt, kind, debit, credit, amount, at, key)
SELECT gen_random_uuid(), e.job_id, e.attempt, e.kind,
       CASE WHEN e.kind = 'reserve' THEN above.taker ELSE above.giver END,
       CASE WHEN e.kind = 'reserve' THEN above.giver ELSE above.taker END, e.amount, e.at, e.key || '/' || above.kind
FROM ledger_entries e JOIN jobs j USING (job_id)
CROSS JOIN LATERAL (VALUES ('user', 'user:' || j.owner, {_PROJECT}),
                           ('project', {_PROJECT}, 'budget:' || j.job_id)) AS above (kind, giver, taker)
WHERE e.amount > 0 AND e.kind IN ('reserve', 'release')
"""  # noqa: S608 - constants
_COMMIT_ABOVE = f"""
INSERT INTO budgets (kind, owner, name, committed_micro_usd, updated_at)
SELECT above.kind, j.owner, above.name,
       sum(CASE WHEN e.credit = above.account THEN e.amount ELSE -e.amount END), max(e.at)
FROM ledger_entries e JOIN jobs j USING (job_id)
CROSS JOIN LATERAL (VALUES ('user', '', 'user:' || j.owner),
                           ('project', coalesce(j.command ->> 'project', 'default'), {_PROJECT}))
    AS above (kind, name, account)
WHERE e.key LIKE '%/' || above.kind
GROUP BY above.kind, j.owner, above.name
"""  # noqa: S608 - constants


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "budgets",
        sa.Column("kind", sa.Text, primary_key=True),
        sa.Column("owner", sa.Text, primary_key=True),
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("limit_micro_usd", sa.BigInteger),
        sa.Column("committed_micro_usd", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("updated_at", UtcColumn, nullable=False),
        sa.CheckConstraint("kind IN ('user', 'project')", name="budget_kind_known"),
        sa.CheckConstraint("limit_micro_usd >= 0", name="budget_limit_not_negative"),
    )
    op.execute(_POST_ABOVE)
    op.execute(_COMMIT_ABOVE)
    op.create_index("jobs_owner", "jobs", ["owner", "status"])
    op.add_column("attempts", sa.Column("landing_since", UtcColumn))
    op.add_column("attempts", sa.Column("landing_why", sa.Text))
    op.add_column("attempts", sa.Column("bill_state", sa.Text, nullable=False, server_default=""))
    op.add_column("attempts", sa.Column("bill_ask_at", UtcColumn))
    op.add_column("attempts", sa.Column("billed_micro_usd", sa.BigInteger))
    op.create_index(
        "attempts_unbilled", "attempts", ["bill_ask_at"], postgresql_where=sa.text("bill_ask_at IS NOT NULL")
    )


def downgrade() -> None:
    """Take back."""
    op.drop_index("attempts_unbilled", "attempts")
    for name in ("landing_since", "landing_why", "bill_state", "bill_ask_at", "billed_micro_usd"):
        op.drop_column("attempts", name)
    op.drop_index("jobs_owner", "jobs")
    op.drop_table("budgets")
    op.execute("DELETE FROM ledger_entries WHERE key LIKE '%/user' OR key LIKE '%/project'")

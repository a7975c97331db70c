"""Sealed secrets of users, and which of them an attempt was launched with."""

import sqlalchemy as sa
from alembic import op

from stoker_shared.database import UtcColumn

revision = "0006_secrets"
down_revision = "0005_orphans"


def upgrade() -> None:
    op.create_table(
        "secrets",
        sa.Column("owner", sa.Text, primary_key=True),
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("version", sa.Integer, primary_key=True),
        sa.Column("sealed", sa.Text),
        sa.Column("key_id", sa.Text, nullable=False),
        sa.Column("created_at", UtcColumn, nullable=False),
        sa.Column("checked_at", UtcColumn),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("hint", sa.Text, nullable=False, server_default=""),
        sa.Column("account_id", sa.Text, nullable=False, server_default=""),
        sa.Column("retired_at", UtcColumn),
    )
    op.create_index(
        "secrets_live", "secrets", ["owner", "name"], unique=True, postgresql_where=sa.text("retired_at IS NULL")
    )
    op.add_column("attempts", sa.Column("owner", sa.Text, nullable=False, server_default=""))
    op.add_column("attempts", sa.Column("key_version", sa.Integer, nullable=False, server_default="0"))
    op.execute("UPDATE attempts SET owner = jobs.owner FROM jobs WHERE jobs.job_id = attempts.job_id")
    op.create_index(
        "attempts_with_key",
        "attempts",
        ["owner", "provider", "key_version"],
        postgresql_where=sa.text("key_version > 0"),
    )
    op.add_column("stray_machines", sa.Column("account", sa.Text, nullable=False, server_default=""))
    op.execute("ALTER TABLE stray_machines DROP CONSTRAINT stray_machines_pkey")
    op.execute("ALTER TABLE stray_machines ADD PRIMARY KEY (provider, account, handle)")


def downgrade() -> None:
    op.execute("ALTER TABLE stray_machines DROP CONSTRAINT stray_machines_pkey")
    # Notes of what was seen, which the next sweep makes again; those of the operator's accounts stay.
    op.execute("DELETE FROM stray_machines WHERE account <> ''")
    op.execute("ALTER TABLE stray_machines ADD PRIMARY KEY (provider, handle)")
    op.drop_column("stray_machines", "account")
    op.drop_index("attempts_with_key", "attempts")
    op.drop_column("attempts", "key_version")
    op.drop_column("attempts", "owner")
    op.drop_table("secrets")

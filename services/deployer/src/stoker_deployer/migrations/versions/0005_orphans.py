"""What orphans of an attempt have cost, apart from its own machine."""

import sqlalchemy as sa
from alembic import op

revision = "0005_orphans"
down_revision = "0004_retry"


def upgrade() -> None:
    op.add_column("attempts", sa.Column("orphans_micro_usd", sa.BigInteger, nullable=False, server_default="0"))


def downgrade() -> None:
    op.drop_column("attempts", "orphans_micro_usd")

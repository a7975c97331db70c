"""Cool-downs of offers; the batch of an attempt on its devices, and whether it may go on from a checkpoint."""

import sqlalchemy as sa
from alembic import op

from stoker_shared.database import UtcColumn

revision = "0004_retry"
down_revision = "0003_money"


def upgrade() -> None:
    op.create_table(
        "offer_cooldowns",
        sa.Column("provider", sa.Text, primary_key=True),
        sa.Column("gpu_type", sa.Text, primary_key=True),
        sa.Column("gpu_count", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("place", sa.Text, primary_key=True),
        sa.Column("until", UtcColumn, nullable=False),
        sa.Column("why", sa.Text, nullable=False),
        sa.Column("refusals", sa.Integer, nullable=False),
        sa.Column("probe_until", UtcColumn),
    )
    op.add_column("attempts", sa.Column("vram_bytes", sa.BigInteger))
    op.add_column("attempts", sa.Column("per_device", sa.Integer))
    op.add_column("attempts", sa.Column("accumulation", sa.Integer))
    op.add_column("attempts", sa.Column("may_resume", sa.Boolean, nullable=False, server_default=sa.true()))


def downgrade() -> None:
    for name in ("may_resume", "accumulation", "per_device", "vram_bytes"):
        op.drop_column("attempts", name)
    op.drop_table("offer_cooldowns")

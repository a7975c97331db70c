"""Why attempts ended."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from stoker_shared.database import UtcColumn

revision = "0005_diagnoses"
down_revision = "0004_store"


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "diagnoses",
        sa.Column("job_id", sa.Text, primary_key=True),
        sa.Column("job_sequence", sa.BigInteger, primary_key=True),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("at", UtcColumn, nullable=False),
        sa.Column("cause", sa.Text, nullable=False),
        sa.Column("diagnosis", JSONB, nullable=False),
    )


def downgrade() -> None:
    """Take back."""
    op.drop_table("diagnoses")

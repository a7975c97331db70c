"""When an attempt succeeded whose machine stays for a while after that."""

import sqlalchemy as sa
from alembic import op

from stoker_shared.database import UtcColumn

revision = "0007_keep_alive"
down_revision = "0006_secrets"


def upgrade() -> None:
    op.add_column("attempts", sa.Column("succeeded_at", UtcColumn))


def downgrade() -> None:
    op.drop_column("attempts", "succeeded_at")

"""Uploads come in parts, may be resumed, and are checked when they are whole."""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from stoker_shared.database import UtcColumn

revision = "0002_uploads"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply. Tickets that are open stay good."""
    for column in _columns():
        op.add_column("uploads", column)
        if column.server_default is not None:
            op.alter_column("uploads", column.name, server_default=None)
    op.create_index("uploads_to_check", "uploads", ["held_until"], postgresql_where=sa.text("state = 'checking'"))
    op.create_table(
        "upload_tokens",
        sa.Column("token_hash", sa.Text, primary_key=True),
        sa.Column("upload_id", sa.Text, sa.ForeignKey("uploads.id", ondelete="CASCADE"), nullable=False),
    )
    op.create_index("ix_upload_tokens_upload_id", "upload_tokens", ["upload_id"])
    op.create_table(
        "upload_parts",
        sa.Column("upload_id", sa.Text, sa.ForeignKey("uploads.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("etag", sa.Text, nullable=False),
    )
    op.execute("INSERT INTO upload_tokens (token_hash, upload_id) SELECT token_hash, id FROM uploads")
    op.drop_column("uploads", "token_hash")


def downgrade() -> None:
    """Take back. Uploads under way begin anew, with a new ticket."""
    op.add_column("uploads", sa.Column("token_hash", sa.Text, nullable=False, server_default=""))
    op.alter_column("uploads", "token_hash", server_default=None)
    op.drop_table("upload_parts")
    op.drop_table("upload_tokens")
    op.drop_index("uploads_to_check", "uploads")
    for column in reversed(_columns()):
        op.drop_column("uploads", column.name)


def _columns() -> list[sa.Column[Any]]:
    return [
        sa.Column("state", sa.Text, nullable=False, server_default="receiving"),
        sa.Column("is_converted_if_possible", sa.Boolean, nullable=False, server_default=sa.true()),
        sa.Column("offset_bytes", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("object_key", sa.Text),
        sa.Column("store_upload", sa.Text),
        sa.Column("tail_key", sa.Text),
        sa.Column("tail_bytes", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("held_by", sa.Text),
        sa.Column("held_until", UtcColumn),
        sa.Column("checked_bytes", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("check_failures", sa.Integer, nullable=False, server_default="0"),
        sa.Column("problem", JSONB),
    ]

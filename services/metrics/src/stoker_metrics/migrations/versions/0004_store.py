"""Points and lines in partitions, levels of points, chunks of lines, what is kept of each attempt."""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from stoker_shared.database import UtcColumn

revision = "0004_store"
down_revision = "0003_money"
branch_labels = None
depends_on = None

# What was stored before: the day of the attempt's admission, as for what comes from now on.
_DAY = "coalesce((r.admitted_at AT TIME ZONE 'UTC')::date, (old.at AT TIME ZONE 'UTC')::date)"
_COLUMNS = {"points": ("step", "at", "values"), "log_lines": ("at", "stream", "text")}


def upgrade() -> None:
    """Apply."""
    _create_kept()
    _create_buckets()
    _create_chunks()
    _repartition("points", sa.Column("step", sa.BigInteger, nullable=False), _at(), _column("values", JSONB))
    _repartition("log_lines", _at(), _column("stream", sa.Text), _column("text", sa.Text))
    # Nothing is levelled yet: the next points that come level all that was there before.
    op.execute("""
        INSERT INTO kept_attempts (job_id, attempt, day, points_seen, points_stored, lines_seen, lines_stored,
                                   log_bytes, points_allowed, lines_allowed, log_bytes_allowed)
        SELECT r.job_id, r.attempt, coalesce((r.admitted_at AT TIME ZONE 'UTC')::date, p.day, l.day),
               coalesce(p.seen, 0), coalesce(p.stored, 0), coalesce(l.seen, 0), coalesce(l.stored, 0),
               coalesce(l.bytes, 0), 5000000, 2000000, 500000000
        FROM attempt_reports r
        LEFT JOIN (SELECT job_id, attempt, min(day) AS day, max(sequence) AS seen, count(*) AS stored
                   FROM points GROUP BY job_id, attempt) p USING (job_id, attempt)
        LEFT JOIN (SELECT job_id, attempt, min(day) AS day, max(sequence) AS seen, count(*) AS stored,
                          sum(octet_length(text)) AS bytes
                   FROM log_lines GROUP BY job_id, attempt) l USING (job_id, attempt)
        WHERE p.seen IS NOT NULL OR l.seen IS NOT NULL
    """)


def downgrade() -> None:
    """Take back. Lines that are in the object store stay there alone."""
    for table, columns in _COLUMNS.items():
        listed = ", ".join(("job_id", "attempt", "sequence", *(f'"{name}"' for name in columns)))
        op.execute(f"CREATE TABLE {table}_whole AS SELECT {listed} FROM {table}")  # noqa: S608 - our own names
        op.drop_table(table)
        op.rename_table(f"{table}_whole", table)
        for name in ("job_id", "attempt", "sequence", *columns):
            op.alter_column(table, name, nullable=False)
        op.create_primary_key(f"{table}_pkey", table, ["job_id", "attempt", "sequence"])
    for table in ("log_chunks", "point_buckets", "kept_attempts"):
        op.drop_table(table)


def _repartition(table: str, *columns: sa.Column[Any]) -> None:
    op.rename_table(table, f"{table}_old")
    op.execute(f"ALTER INDEX {table}_pkey RENAME TO {table}_old_pkey")
    op.create_table(
        table,
        *_key(),
        sa.Column("day", sa.Date, nullable=False),
        *columns,
        sa.PrimaryKeyConstraint("job_id", "attempt", "sequence", "day"),
        postgresql_partition_by="LIST (day)",
    )
    joined = f"FROM {table}_old old LEFT JOIN attempt_reports r USING (job_id, attempt)"
    days = op.get_bind().execute(sa.text(f"SELECT DISTINCT {_DAY} {joined}")).scalars().all()
    for day in days:
        op.execute(f"CREATE TABLE {table}_{day:%Y%m%d} PARTITION OF {table} FOR VALUES IN ('{day.isoformat()}')")
    listed = ", ".join(f'"{name}"' for name in _COLUMNS[table])
    copied = ", ".join(f'old."{name}"' for name in _COLUMNS[table])
    op.execute(
        f"INSERT INTO {table} (job_id, attempt, sequence, day, {listed}) "
        f"SELECT job_id, attempt, old.sequence, {_DAY}, {copied} {joined}"
    )
    op.drop_table(f"{table}_old")


def _create_kept() -> None:
    op.create_table(
        "kept_attempts",
        sa.Column("job_id", sa.Text, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("day", sa.Date, nullable=False),
        *(_counter(name) for name in ("points_seen", "points_stored")),
        _column("points_allowed", sa.BigInteger),
        *(_counter(name) for name in ("levelled_sequence", "lines_seen", "lines_stored")),
        _column("lines_allowed", sa.BigInteger),
        _counter("log_bytes"),
        _column("log_bytes_allowed", sa.BigInteger),
        sa.Column("lines_capped_by", sa.Text),
        _counter("lines_packed"),
        *(sa.Column(f"{what}_dropped_at", UtcColumn) for what in ("points", "levels", "lines")),
        sa.PrimaryKeyConstraint("job_id", "attempt"),
    )
    op.create_index("kept_attempts_day", "kept_attempts", ["day"])


def _create_buckets() -> None:
    op.create_table(
        "point_buckets",
        sa.Column("job_id", sa.Text, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("width", sa.Integer, nullable=False),
        sa.Column("metric", sa.Text, nullable=False),
        *(_column(name, sa.BigInteger) for name in ("number", "first_step", "last_step", "last_sequence")),
        *(sa.Column(name, sa.Float) for name in ("minimum", "maximum", "last")),
        *(_column(name, sa.BigInteger) for name in ("count", "gaps")),
        sa.PrimaryKeyConstraint("job_id", "attempt", "width", "metric", "number"),
    )


def _create_chunks() -> None:
    op.create_table(
        "log_chunks",
        sa.Column("object_key", sa.Text, primary_key=True),
        sa.Column("job_id", sa.Text, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        *(_column(name, sa.BigInteger) for name in ("first_sequence", "last_sequence")),
        *(sa.Column(name, UtcColumn, nullable=False) for name in ("first_at", "last_at")),
        _column("streams", sa.ARRAY(sa.Text)),
        *(_column(name, sa.BigInteger) for name in ("text_bytes", "stored_bytes")),
        _column("sha256", sa.Text),
        sa.Column("created_at", UtcColumn, nullable=False),
        _column("state", sa.Text),
    )
    op.create_index("log_chunks_lines", "log_chunks", ["job_id", "attempt", "first_sequence"])
    op.create_index(
        "log_chunks_unfinished", "log_chunks", ["created_at"], postgresql_where=sa.text("state <> 'stored'")
    )


def _key() -> list[sa.Column[Any]]:
    return [_column("job_id", sa.Text), _column("attempt", sa.Integer), _column("sequence", sa.BigInteger)]


def _at() -> sa.Column[Any]:
    return sa.Column("at", UtcColumn, nullable=False)


def _column(name: str, kind: Any) -> sa.Column[Any]:
    return sa.Column(name, kind, nullable=False)


def _counter(name: str) -> sa.Column[Any]:
    return sa.Column(name, sa.BigInteger, nullable=False, server_default="0")

"""Alembic's entry."""

from stoker_metrics.alerts import tables as alerts_tables
from stoker_metrics.attempts import tables as attempts_tables
from stoker_metrics.diagnosis import tables as diagnosis_tables
from stoker_metrics.keeping import tables as keeping_tables
from stoker_metrics.lines import tables as lines_tables
from stoker_metrics.notifications import tables as notification_tables
from stoker_metrics.points import tables as points_tables
from stoker_metrics.tables import Table
from stoker_shared.database.migrations import run_env

TABLE_MODULES = (
    attempts_tables,
    diagnosis_tables,
    keeping_tables,
    lines_tables,
    notification_tables,
    points_tables,
    alerts_tables,
)
"""Imported so that `Table.metadata` knows every table."""

run_env(Table.metadata)

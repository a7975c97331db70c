"""PostgreSQL: engine, sessions and migrations, the same for every service."""

from stoker_shared.database.copying import copy_rows
from stoker_shared.database.engine import Database, UtcColumn, utc_column
from stoker_shared.database.migrations import migrate_down, migrate_up
from stoker_shared.database.statements import Statements

__all__ = ["Database", "Statements", "UtcColumn", "copy_rows", "migrate_down", "migrate_up", "utc_column"]

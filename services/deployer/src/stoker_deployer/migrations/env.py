"""Alembic's entry; driven by `stoker_shared.database.migrate_up`."""

from stoker_deployer.jobs import tables as _jobs  # noqa: F401 - registers its tables
from stoker_deployer.jobs.tables import Table
from stoker_deployer.ledger import tables as _ledger  # noqa: F401 - registers its tables
from stoker_shared.database.migrations import run_env

run_env(Table.metadata)

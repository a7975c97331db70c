"""Alembic's entry for the api's schema."""

import stoker_api.accounts.tables
import stoker_api.jobs.tables
import stoker_api.plans.tables
import stoker_api.recipes.tables  # noqa: F401 - each import fills the metadata
from stoker_api.tables import Table
from stoker_shared.database.migrations import run_env

run_env(Table.metadata)

"""Alembic's entry."""

from stoker_dataset_gateway.artifacts import tables as artifacts_tables
from stoker_dataset_gateway.datasets import tables as datasets_tables
from stoker_dataset_gateway.objects import tables as objects_tables
from stoker_dataset_gateway.tables import Table
from stoker_dataset_gateway.tokens import tables as tokens_tables
from stoker_dataset_gateway.uploads import tables as uploads_tables
from stoker_shared.database.migrations import run_env

TABLE_MODULES = (artifacts_tables, datasets_tables, objects_tables, tokens_tables, uploads_tables)
"""Imported so that `Table.metadata` knows every table."""

run_env(Table.metadata)

"""Alembic's entry."""

from sqlmodel import SQLModel

from stoker_shared.database.migrations import run_env

run_env(SQLModel.metadata)

"""Alembic, driven from Python so that a service carries its migrations inside its wheel."""

import asyncio
from pathlib import Path

from alembic import command, context
from alembic.config import Config
from pydantic import SecretStr
from sqlalchemy import Connection, MetaData
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

_URL_KEY = "stoker_database_url"


def migrate_up(folder: Path, *, database_url: SecretStr, revision: str = "head") -> None:
    """Bring the service's schema to a revision. `folder` holds `env.py` and `versions/`."""
    command.upgrade(_config(folder, database_url), revision)


def migrate_down(folder: Path, *, database_url: SecretStr, revision: str = "base") -> None:
    """Take migrations back, down to a revision."""
    command.downgrade(_config(folder, database_url), revision)


def run_env(metadata: MetaData) -> None:
    """What each service's `migrations/env.py` calls."""
    url: SecretStr = context.config.attributes[_URL_KEY]
    asyncio.run(_run(url, metadata))


async def _run(url: SecretStr, metadata: MetaData) -> None:
    engine = create_async_engine(url.get_secret_value(), poolclass=NullPool)
    try:
        async with engine.connect() as connection:
            await connection.run_sync(_migrate, metadata)
            await connection.commit()
    finally:
        await engine.dispose()


def _migrate(connection: Connection, metadata: MetaData) -> None:
    context.configure(connection=connection, target_metadata=metadata, transactional_ddl=True, compare_type=True)
    with context.begin_transaction():
        # Two replicas that start at once must not migrate at once.
        connection.exec_driver_sql("SELECT pg_advisory_xact_lock(hashtext('stoker migrations'))")
        context.run_migrations()


def _config(folder: Path, database_url: SecretStr) -> Config:
    config = Config()
    config.set_main_option("script_location", str(folder).replace("%", "%%"))
    config.attributes[_URL_KEY] = database_url
    return config

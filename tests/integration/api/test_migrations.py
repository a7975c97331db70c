"""The schema: up, down, up, and no difference to the tables in the code."""

import asyncpg
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from pydantic import SecretStr
from sqlalchemy import Connection, MetaData
from sqlalchemy.ext.asyncio import create_async_engine

import stoker_api.accounts.tables
import stoker_api.jobs.tables
import stoker_api.plans.tables
import stoker_api.recipes.tables  # noqa: F401 - each import fills the metadata
from stoker_api import MIGRATIONS
from stoker_api.tables import Table
from stoker_shared.database import migrate_down, migrate_up
from tests.support.servers import TestDatabase

OUTBOX = {"outbox", "processed", "broker_watermark", "alembic_version"}


def test_up_down_up_leaves_nothing_in_between(database: TestDatabase) -> None:
    url = SecretStr(database.url("api"))
    migrate_up(MIGRATIONS, database_url=url)
    first = database.server.loop.run(tables_of(database))
    migrate_down(MIGRATIONS, database_url=url)
    assert database.server.loop.run(tables_of(database)) <= {"alembic_version"}
    migrate_up(MIGRATIONS, database_url=url)
    assert database.server.loop.run(tables_of(database)) == first
    assert first == {*Table.metadata.tables, *OUTBOX}


def test_a_migration_that_ran_before_changes_nothing(database: TestDatabase) -> None:
    url = SecretStr(database.url("api"))
    for _ in range(2):
        migrate_up(MIGRATIONS, database_url=url)


async def test_the_migrations_make_the_tables_that_the_code_expects(api_database: TestDatabase) -> None:
    engine = create_async_engine(api_database.url("api"))
    async with engine.connect() as connection:
        differences = await connection.run_sync(differences_to, Table.metadata)
    await engine.dispose()
    assert differences == []


def differences_to(connection: Connection, metadata: MetaData) -> list[object]:
    def is_ours(_object: object, name: str | None, kind: str, _reflected: bool, _other: object) -> bool:  # noqa: FBT001
        return not (kind == "table" and name in OUTBOX)

    options = {"compare_type": False, "include_object": is_ours}
    return list(compare_metadata(MigrationContext.configure(connection, opts=options), metadata))


async def tables_of(database: TestDatabase) -> set[str]:
    connection = await asyncpg.connect(database.url("api", driver="postgresql"))
    try:
        rows = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'api'")
        return {row["tablename"] for row in rows}
    finally:
        await connection.close()

"""The schema goes up, down and up again, and is what the tables say."""

from pathlib import Path

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from pydantic import SecretStr
from sqlalchemy import Connection, text

from stoker_metrics import MIGRATIONS
from stoker_metrics.tables import Table
from stoker_shared.database import Database, migrate_down, migrate_up
from tests.support.servers import TestDatabase

TABLES = text("SELECT table_name FROM information_schema.tables WHERE table_schema = 'metrics'")


async def tables(url: SecretStr) -> set[str]:
    database = Database(url)
    try:
        async with database.transaction() as session:
            return set((await session.execute(TABLES)).scalars())
    finally:
        await database.close()


def test_it_goes_up_down_and_up_again(database: TestDatabase) -> None:
    url = SecretStr(database.url("metrics"))
    loop = database.server.loop
    migrate_up(MIGRATIONS, database_url=url)
    up = loop.run(tables(url))
    migrate_up(MIGRATIONS, database_url=url)
    migrate_down(MIGRATIONS, database_url=url)
    assert loop.run(tables(url)) == {"alembic_version"}
    migrate_up(MIGRATIONS, database_url=url)
    assert loop.run(tables(url)) == up
    assert {"job_tokens", "attempt_reports", "points", "log_lines", "alerts", "outbox", "processed"} <= up


def test_the_tables_of_the_code_are_those_of_the_migration(database: TestDatabase) -> None:
    url = SecretStr(database.url("metrics"))
    migrate_up(MIGRATIONS, database_url=url)

    shared = {"alembic_version", "outbox", "processed", "broker_watermark"}

    def is_ours(name: str | None, kind: str, _parents: object) -> bool:
        return kind != "table" or name not in shared

    def differences(connection: Connection) -> list[object]:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "include_name": is_ours})
        return list(compare_metadata(context, Table.metadata))

    async def compare() -> list[object]:
        connected = Database(url)
        try:
            async with connected.engine.connect() as connection:
                return await connection.run_sync(differences)
        finally:
            await connected.close()

    assert database.server.loop.run(compare()) == []


def test_the_migrations_are_inside_the_package() -> None:
    assert (Path(MIGRATIONS) / "script.py.mako").exists()
    assert (Path(MIGRATIONS) / "versions" / "0001_reports.py").exists()

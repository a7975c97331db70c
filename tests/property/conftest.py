"""A real PostgreSQL for histories. It may lose its last commits when the machine dies, which no test here looks at."""

import asyncio
from collections.abc import Iterator

import asyncpg
import pytest
import structlog
from pydantic import SecretStr

from stoker.stack.keys import nkey_seeds
from stoker.stack.standalone import running_postgres
from stoker_deployer import MIGRATIONS
from stoker_shared.database import migrate_up
from tests.property.world import Ground, prepared_ground
from tests.support.servers import TestDatabase, fresh_database


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    """Migrated, empty, quick."""
    folder = tmp_path_factory.mktemp("property")
    seed_file = nkey_seeds(folder, ["deployer"])["deployer"]
    with running_postgres(folder / "postgres") as server, fresh_database(server) as database:
        asyncio.run(_hurry(database))
        migrate_up(MIGRATIONS, database_url=SecretStr(database.url("deployer")))
        with prepared_ground(database, seed_file=seed_file) as made:
            yield made


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Thousands of histories of a hostile world: what fails is told by the checks."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    yield
    structlog.configure(**before)


async def _hurry(database: TestDatabase) -> None:
    connection = await asyncpg.connect(database.admin_url())
    await connection.execute(f"ALTER DATABASE {database.name} SET synchronous_commit = off")
    await connection.close()

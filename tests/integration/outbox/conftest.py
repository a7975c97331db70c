"""A schema with the outbox tables alone, as the service `deployer` owns them."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from stoker_shared.database import Database, migrate_up
from tests.support.servers import TestDatabase

MIGRATIONS = Path(__file__).parent / "migrations"


@pytest.fixture
def outbox_url(database: TestDatabase) -> SecretStr:
    """The address of a database with outbox tables."""
    url = SecretStr(database.url("deployer"))
    migrate_up(MIGRATIONS, database_url=url)
    return url


@pytest.fixture
async def outbox_database(outbox_url: SecretStr) -> AsyncIterator[Database]:
    """The same, connected."""
    connected = Database(outbox_url)
    yield connected
    await connected.close()

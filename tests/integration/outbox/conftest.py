"""A schema with the outbox tables alone, as the service `deployer` owns them."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from stoker_shared.database import Database
from tests.support.servers import MakeDatabase

MIGRATIONS = Path(__file__).parent / "migrations"


@pytest.fixture
def outbox_url(migrated_database: MakeDatabase) -> SecretStr:
    """The address of a database with outbox tables."""
    return SecretStr(migrated_database("deployer", MIGRATIONS).url("deployer"))


@pytest.fixture
async def outbox_database(outbox_url: SecretStr) -> AsyncIterator[Database]:
    """The same, connected."""
    connected = Database(outbox_url)
    yield connected
    await connected.close()

"""A world for each test: see world.py."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
from pydantic import SecretStr

from stoker.stack.standalone import RunningNats
from stoker_deployer import MIGRATIONS
from stoker_shared.database import migrate_up
from tests.integration.deployer.peers import Peers
from tests.integration.deployer.world import World
from tests.simulators.running import RunningSimulator, running_simulator
from tests.support.servers import TestDatabase


@pytest.fixture
def simulated_server() -> Iterator[RunningSimulator]:
    """A training server whose machines run at once."""
    with running_simulator() as running:
        yield running


@pytest.fixture
async def world(
    clean_bus: RunningNats, database: TestDatabase, simulated_server: RunningSimulator
) -> AsyncIterator[World]:
    """Everything but a deployer."""
    await asyncio.to_thread(migrate_up, MIGRATIONS, database_url=SecretStr(database.url("deployer")))
    made = World(nats=clean_bus, database=database, server=simulated_server, peers=Peers(clean_bus))
    await made.peers.start()
    yield made
    for deployer in made.deployers:
        await deployer.stop()
    await made.peers.stop()

"""A world for each test: see world.py."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from stoker.stack.standalone import RunningNats
from stoker_deployer import MIGRATIONS
from tests.integration.deployer.peers import Peers
from tests.integration.deployer.world import World
from tests.simulators.running import RunningSimulator, running_simulator
from tests.support.servers import MakeDatabase


@pytest.fixture
def simulated_server() -> Iterator[RunningSimulator]:
    """A training server whose machines run at once."""
    with running_simulator() as running:
        yield running


@pytest.fixture
async def world(
    clean_bus: RunningNats,
    migrated_database: MakeDatabase,
    simulated_server: RunningSimulator,
) -> AsyncIterator[World]:
    """Everything but a deployer."""
    database = await asyncio.to_thread(migrated_database, "deployer", MIGRATIONS)
    made = World(nats=clean_bus, database=database, server=simulated_server, peers=Peers(clean_bus))
    await made.peers.start()
    yield made
    for deployer in made.deployers:
        await deployer.stop()
        assert all(client.is_closed for client in deployer.providers.connections)
    await made.peers.stop()

"""The metrics service on a real broker and a real database."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from stoker.stack.standalone import RunningNats
from stoker_metrics import MIGRATIONS
from stoker_shared.clock import ManualClock
from tests.support.metrics import OWNER, World, control_plane, environment, metrics_service
from tests.support.servers import MakeDatabase, TestDatabase


@pytest.fixture
def metrics_database(migrated_database: MakeDatabase) -> TestDatabase:
    """A database with the tables of the service."""
    return migrated_database("metrics", MIGRATIONS)


@pytest.fixture
def metrics_variables(clean_bus: RunningNats, metrics_database: TestDatabase) -> dict[str, str]:
    """Settings of a service whose schema is up to date."""
    return environment(clean_bus, metrics_database.url("metrics"))


@pytest.fixture
def clock() -> ManualClock:
    """Stands at the present, after the time in which a new service trusts no silence."""
    return ManualClock(datetime.now(UTC))


@pytest.fixture
async def world(
    metrics_variables: dict[str, str], clean_bus: RunningNats, metrics_database: TestDatabase, clock: ManualClock
) -> AsyncIterator[World]:
    """Everything connected."""
    async with metrics_service(metrics_variables, clock=clock) as http, control_plane(clean_bus) as plane:
        clock.advance(timedelta(minutes=1))
        yield World(http, plane, clock, metrics_database)


@pytest.fixture
async def token(world: World) -> str:
    """The job token of attempt 1, owned by OWNER."""
    return await world.plane.admit(owner=OWNER)

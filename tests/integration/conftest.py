"""Real NATS, PostgreSQL and S3, started once per session. A test that kills one must start it again, or the next does.

nats_server       url, seed_files[principal], seed(principal), monitor_url; kill(), start(), restart()
clean_bus         the same broker with the topology's streams and consumers, all empty
postgres          the server: kill(), start(), restart(), url(role, database=...)
database          a fresh database: url(service), admin_url()
migrated_database makes one with a service's tables: `migrated_database("api", MIGRATIONS)`
database_url      its url(service) alone: "postgresql+asyncpg://stoker_api:...@127.0.0.1:1/test_ab12"
object_store      a fresh bucket: endpoint, access_key, secret_key, bucket, region, secure, client(); .server to kill
"""

import functools
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from stoker.stack.standalone import (
    RunningNats,
    RunningObjectStore,
    RunningPostgres,
    RunningServer,
    running_nats,
    running_object_store,
    running_postgres,
)
from tests.support.servers import (
    MakeDatabase,
    TestBucket,
    TestDatabase,
    fresh_bucket,
    fresh_database,
    migrated_template,
    reset_bus,
)


@pytest.fixture(scope="session")
def _started() -> list[RunningServer]:
    return []


@pytest.fixture(autouse=True)
def _revive_servers(_started: list[RunningServer]) -> None:
    """A server that the test before killed is there again for the next one."""
    for server in _started:
        if server.pid is None:
            server.start()


@pytest.fixture(scope="session")
def nats_server(tmp_path_factory: pytest.TempPathFactory, _started: list[RunningServer]) -> Iterator[RunningNats]:
    """The broker, with the permissions of the contract. Streams may hold what earlier tests left: see clean_bus."""
    with running_nats(tmp_path_factory.mktemp("nats")) as server:
        _started.append(server)
        yield server
        _started.remove(server)


@pytest.fixture
def clean_bus(nats_server: RunningNats, _revive_servers: None) -> RunningNats:
    """The broker with empty streams."""
    nats_server.loop.run(reset_bus(nats_server))
    return nats_server


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory, _started: list[RunningServer]) -> Iterator[RunningPostgres]:
    """The database server."""
    with running_postgres(tmp_path_factory.mktemp("postgres")) as server:
        _started.append(server)
        yield server
        _started.remove(server)


@pytest.fixture
def database(postgres: RunningPostgres, _revive_servers: None) -> Iterator[TestDatabase]:
    """A database of this test."""
    with fresh_database(postgres) as fresh:
        yield fresh


@pytest.fixture(scope="session")
def _template(postgres: RunningPostgres) -> Callable[[str, Path], str]:
    return functools.cache(functools.partial(migrated_template, postgres))


@pytest.fixture
def migrated_database(
    postgres: RunningPostgres, _template: Callable[[str, Path], str], _revive_servers: None
) -> Iterator[MakeDatabase]:
    """Makes databases of this test that have the tables of a service."""
    with ExitStack() as databases:
        yield lambda service, migrations: databases.enter_context(
            fresh_database(postgres, copy_of=_template(service, migrations))
        )


@pytest.fixture
def database_url(database: TestDatabase) -> Callable[[str], str]:
    """The address of this test's database for a service: `database_url("api")`."""
    return database.url


@pytest.fixture(scope="session")
def object_store_server(
    tmp_path_factory: pytest.TempPathFactory, _started: list[RunningServer]
) -> Iterator[RunningObjectStore]:
    """The object store's server."""
    with running_object_store(tmp_path_factory.mktemp("object-store")) as server:
        _started.append(server)
        yield server
        _started.remove(server)


@pytest.fixture
def object_store(object_store_server: RunningObjectStore, _revive_servers: None) -> Iterator[TestBucket]:
    """A bucket of this test."""
    with fresh_bucket(object_store_server) as bucket:
        yield bucket

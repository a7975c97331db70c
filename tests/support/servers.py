"""Real servers for tests: what the fixtures of tests/integration/conftest.py hand out."""

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import asyncpg
import nats
from minio import Minio
from minio.deleteobjects import DeleteObject
from pydantic import SecretStr
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_delay, wait_fixed

from stoker.stack.keys import POSTGRES_SUPERUSER
from stoker.stack.object_store_server import REGION
from stoker.stack.postgres_roles import drop_database, provision_database, role_of
from stoker.stack.standalone import RunningNats, RunningObjectStore, RunningPostgres
from stoker_shared.bus.topology_keeper import TopologyRefused, ensure_topology
from stoker_shared.database import migrate_up
from stoker_shared.subjects import inbox_prefix


@dataclass(frozen=True, slots=True)
class TestDatabase:
    """A database of one test, with the roles and schemas of all services and no tables yet."""

    __test__ = False

    name: str
    server: RunningPostgres

    def url(self, service: str, *, driver: str = "postgresql+asyncpg") -> str:
        """The address for a service, for example `api`; its role owns the schema of the same name."""
        return self.server.url(role_of(service), database=self.name, driver=driver)

    def admin_url(self, *, driver: str = "postgresql") -> str:
        """The address for the superuser."""
        return self.server.url(POSTGRES_SUPERUSER, database=self.name, driver=driver)


@dataclass(frozen=True, slots=True)
class TestBucket:
    """An empty bucket of one test. `endpoint` is host:port."""

    __test__ = False

    endpoint: str
    access_key: str
    secret_key: str
    bucket: str
    server: RunningObjectStore
    region: str = REGION
    secure: bool = False

    def client(self) -> Minio:
        """An SDK client that gives up within seconds."""
        return self.server.client()


MakeDatabase = Callable[[str, Path], TestDatabase]
"""From a service and the folder of its migrations to a fresh database with its tables."""


@contextmanager
def fresh_database(server: RunningPostgres, *, copy_of: str | None = None) -> Iterator[TestDatabase]:
    """A new database; gone afterwards, with whatever is still connected to it."""
    name = f"test_{secrets.token_hex(6)}"
    admin = server.url(POSTGRES_SUPERUSER, database="postgres")
    if copy_of is not None:
        server.loop.run(_copy_database(admin, copy_of, to=name))
    server.loop.run(provision_database(admin, name))
    try:
        yield TestDatabase(name, server)
    finally:
        if server.pid is None:
            server.start()
        server.loop.run(drop_database(admin, name))


def migrated_template(server: RunningPostgres, service: str, migrations: Path) -> str:
    """Make a database with the tables of a service, to be copied: that is quicker than to migrate each one."""
    name = f"template_{migrations.parent.name}"
    server.loop.run(provision_database(server.url(POSTGRES_SUPERUSER, database="postgres"), name))
    migrate_up(migrations, database_url=SecretStr(TestDatabase(name, server).url(service)))
    return name


async def _copy_database(admin_url: str, name: str, *, to: str) -> None:
    connection = await asyncpg.connect(admin_url, timeout=10)
    try:
        await connection.execute(f'CREATE DATABASE "{to}" TEMPLATE "{name}"')
    finally:
        await connection.close()


@contextmanager
def fresh_bucket(server: RunningObjectStore) -> Iterator[TestBucket]:
    """A new bucket; gone afterwards with all that is in it."""
    bucket = f"test-{secrets.token_hex(6)}"
    server.client().make_bucket(bucket)
    try:
        yield TestBucket(
            endpoint=server.endpoint,
            access_key=server.access_key.get_secret_value(),
            secret_key=server.secret_key.get_secret_value(),
            bucket=bucket,
            server=server,
        )
    finally:
        if server.pid is None:
            server.start()
        _empty(server.client(), bucket)
        server.client().remove_bucket(bucket)


async def reset_bus(server: RunningNats) -> None:
    """Streams and consumers as the topology says, and not one message in them.

    Once, right after a delete, the broker refused to make a stream anew; why is not known. The topology keeper would
    try again, and so does this.
    """
    client = await nats.connect(
        server.url,
        nkeys_seed=str(server.seed_files["topology"]),
        inbox_prefix=inbox_prefix("topology").encode(),
        allow_reconnect=False,
    )
    try:
        jetstream = client.jetstream()
        for stream in await jetstream.streams_info():
            await jetstream.delete_stream(str(stream.config.name))
        async for attempt in AsyncRetrying(
            retry=retry_if_exception_type(TopologyRefused),
            wait=wait_fixed(0.2),
            stop=stop_after_delay(timedelta(seconds=20)),
            reraise=True,
        ):
            with attempt:
                await ensure_topology(jetstream)
    finally:
        await client.close()


def _empty(client: Minio, bucket: str) -> None:
    names = [DeleteObject(str(entry.object_name)) for entry in client.list_objects(bucket, recursive=True)]
    for error in client.remove_objects(bucket, names):
        raise AssertionError(f"{error.name} was not deleted: {error.message}")

"""The dataset gateway's process on real servers, with one file in the store that tokens can be written for."""

import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
import httpx
from minio import Minio
from pydantic import SecretStr

from stoker.stack.standalone import (
    LoopThread,
    RunningNats,
    RunningObjectStore,
    RunningPostgres,
    running_nats,
    running_object_store,
    running_postgres,
)
from stoker_dataset_gateway import MIGRATIONS
from stoker_shared.database import migrate_up
from stoker_shared.tokens import token_hash
from tests.support.ports import free_port
from tests.support.servers import TestBucket, TestDatabase, fresh_bucket, fresh_database, reset_bus

KEY = "bench/file.bin"
PART_BYTES = 8 * 2**20
_INSERT = """
    INSERT INTO download_tokens (token_hash, kind, object_key, filename, sha256, size_bytes, created_at, expires_at,
        use_count, bytes_served)
    VALUES ($1, 'dataset', $2, 'file.bin', $3, $4, $5, $6, 0, 0)
"""


@dataclass(frozen=True)
class Servers:
    """What a gateway needs."""

    nats: RunningNats
    postgres: RunningPostgres
    object_store: RunningObjectStore
    database: TestDatabase
    bucket: TestBucket

    @property
    def client(self) -> Minio:
        """Speaks to the store."""
        return self.object_store.client()

    def database_url(self, driver: str = "postgresql+asyncpg") -> str:
        """Of the gateway's role."""
        return self.database.url("dataset_gateway", driver=driver)


@contextmanager
def running_servers(folder: Path) -> Iterator[Servers]:
    """Broker, database with the gateway's tables, and an empty bucket."""
    with ExitStack() as cleanup:
        nats = cleanup.enter_context(running_nats(folder / "nats"))
        postgres = cleanup.enter_context(running_postgres(folder / "postgres"))
        store = cleanup.enter_context(running_object_store(folder / "store"))
        database = cleanup.enter_context(fresh_database(postgres))
        bucket = cleanup.enter_context(fresh_bucket(store))
        nats.loop.run(reset_bus(nats))
        servers = Servers(nats, postgres, store, database, bucket)
        migrate_up(MIGRATIONS, database_url=SecretStr(servers.database_url()))
        yield servers


@dataclass(frozen=True)
class RunningGateway:
    """The process."""

    servers: Servers
    port: int
    pid: int

    def download_url(self, *, size_bytes: int) -> str:
        """An address of the file, with a token of its own."""
        token = secrets.token_urlsafe(32)
        loop = LoopThread()
        loop.run(_insert(self.servers.database_url("postgresql"), token, size_bytes))
        loop.close()
        return f"http://127.0.0.1:{self.port}/v1/datasets/download?token={token}"


@contextmanager
def running_gateway(servers: Servers, *, log_file: Path, **settings: str) -> Iterator[RunningGateway]:
    """A gateway with these settings, until the block ends."""
    port = free_port()
    values = {
        "nats_url": servers.nats.url,
        "nats_seed_file": str(servers.nats.seed_files["dataset_gateway"]),
        "database_url": servers.database_url(),
        "port": str(port),
        "public_url": f"http://127.0.0.1:{port}",
        "s3_endpoint": servers.bucket.endpoint,
        "s3_access_key": servers.bucket.access_key,
        "s3_secret_key": servers.bucket.secret_key,
        "s3_bucket": servers.bucket.bucket,
        **settings,
    }
    environment = {f"STOKER_DATASET_GATEWAY_{name.upper()}": value for name, value in values.items()}
    command = [sys.executable, "-m", "stoker_dataset_gateway", "serve"]
    with log_file.open("wb") as log:
        process = subprocess.Popen(command, env={**os.environ, **environment}, stdout=log, stderr=log)
    try:
        _until_ready(process, port, log_file)
        yield RunningGateway(servers, port, process.pid)
    finally:
        process.terminate()
        process.wait()


async def _insert(url: str, token: str, size_bytes: int) -> None:
    connection = await asyncpg.connect(url)
    now = datetime.now(UTC)
    values = (token_hash(token), KEY, "0" * 64, size_bytes, now, now + timedelta(hours=2))
    await connection.execute(_INSERT, *values)
    await connection.close()


def _until_ready(process: "subprocess.Popen[bytes]", port: int, log_file: Path) -> None:
    for _ in range(600):
        if process.poll() is not None:
            break
        try:
            if httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=2).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise RuntimeError(f"the gateway did not become ready:\n{log_file.read_text()}")

"""A real gateway process on real servers, and what speaks to it: users over HTTP, services over the bus."""

import asyncio
import gzip
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
from pydantic import SecretStr

from stoker.stack.standalone import RunningNats, RunningObjectStore, RunningPostgres
from stoker_dataset_gateway import MIGRATIONS
from stoker_shared.bus import Bus, BusSettings, RpcClient
from stoker_shared.database import migrate_up
from stoker_shared.identifiers import new_identifier
from stoker_shared.rpc.contract import Rpc
from stoker_shared.rpc.dataset_gateway import (
    MINT,
    OPEN_UPLOAD,
    DownloadMinted,
    MintDownload,
    OpenUpload,
    UploadOpened,
)
from stoker_shared.tokens import mint_token, token_hash
from tests.support.ports import free_port
from tests.support.servers import TestBucket, TestDatabase, fresh_bucket, fresh_database, reset_bus

START_SECONDS = 150
ROWS = [{"prompt": f"question {number}", "completion": f"answer {number}"} for number in range(50)]


def jsonl(rows: list[dict[str, Any]]) -> bytes:
    """Rows as a file."""
    return "".join(f"{json.dumps(row)}\n" for row in rows).encode()


@dataclass
class Gateway:
    """The process under test."""

    environment: dict[str, str]
    port: int
    log_file: Path
    process: subprocess.Popen[bytes] | None = None
    secrets: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """The process id."""
        assert self.process is not None
        return self.process.pid

    def start(self, **settings: str) -> None:
        """Start and wait until it is ready."""
        own = {f"STOKER_DATASET_GATEWAY_{name.upper()}": value for name, value in settings.items()}
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "stoker_dataset_gateway", "serve"],
                env={**os.environ, **self.environment, **own},
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            assert self.process.poll() is None, self.log()
            try:
                if httpx.get(f"{self.url}/readyz", timeout=2).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.1)
        raise AssertionError(f"not ready:\n{self.log()}")

    def stop(self, sign: signal.Signals = signal.SIGTERM) -> None:
        """End it."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(sign)
            self.process.wait(timeout=20)

    def log(self) -> str:
        """All that it wrote."""
        return self.log_file.read_text()


@dataclass
class Peers:
    """The api and the deployer on the bus."""

    clients: dict[str, RpcClient]

    async def ask(self, rpc: Rpc[Any, Any], request: Any) -> Any:
        """Ask as the first service that may."""
        return await self.clients[rpc.callers[0]].ask(rpc, request)


@dataclass
class World:
    """All that a test needs."""

    gateway: Gateway
    peers: Peers
    http: httpx.AsyncClient
    servers: "Servers"
    owner: str

    async def open_upload(
        self, content: bytes, *, filename: str = "data.jsonl", owner: str | None = None, **changes: Any
    ) -> UploadOpened:
        """Announce a file."""
        request = OpenUpload(
            owner=owner or self.owner,
            name="my data",
            filename=filename,
            size_bytes=len(content),
            sha256=hashlib.sha256(content).hexdigest(),
        ).model_copy(update=changes)
        opened: UploadOpened = await self.peers.ask(OPEN_UPLOAD, request)
        if opened.upload_token:
            self.gateway.secrets.append(opened.upload_token)
        return opened

    async def put(self, opened: UploadOpened, content: Any, **options: Any) -> httpx.Response:
        """Send a file."""
        assert opened.upload_url is not None
        headers = {"Authorization": f"Bearer {opened.upload_token}"}
        return await self.http.put(opened.upload_url, content=content, headers=headers, **options)

    async def tus(
        self, method: str, opened: UploadOpened, *, content: Any = None, port: int | None = None, **headers: str
    ) -> httpx.Response:
        """Speak tus; underscores in the names of headers are dashes. `port` is that of another replica."""
        sent = {
            "Authorization": f"Bearer {opened.upload_token}",
            "Tus-Resumable": "1.0.0",
            **({"Content-Type": "application/offset+octet-stream"} if method == "PATCH" else {}),
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        url = str(opened.upload_url)
        if port is not None:
            url = url.replace(f":{self.gateway.port}/", f":{port}/")
        return await self.http.request(method, url, content=content, headers=sent)

    async def patch(self, opened: UploadOpened, content: Any, *, offset: int, **headers: str) -> httpx.Response:
        """Append."""
        return await self.tus("PATCH", opened, content=content, Upload_Offset=str(offset), **headers)

    async def offset(self, opened: UploadOpened) -> int:
        """Where the upload goes on."""
        head = await self.tus("HEAD", opened)
        assert head.status_code == 200, head.text
        return int(head.headers["upload-offset"])

    async def verdict(self, opened: UploadOpened, *, port: int | None = None) -> dict[str, Any]:
        """How the upload ended, once it has."""
        while True:
            answer = await self.tus("GET", opened, port=port)
            assert answer.status_code == 200, answer.text
            if answer.json()["state"] not in {"receiving", "checking"}:
                found: dict[str, Any] = answer.json()
                return found
            await asyncio.sleep(0.05)

    def content(self, version_id: str) -> bytes:
        """The only object of a version."""
        (key,) = self.keys(f"datasets/{version_id}/")
        bucket = self.servers.bucket
        return bytes(bucket.client().get_object(bucket.bucket, key).data)

    def remains(self, opened: UploadOpened) -> list[str]:
        """What the store has of an unfinished upload: the multipart upload, which no listing shows, and a tail."""
        bucket = self.servers.bucket
        begun = bucket.client()._list_multipart_uploads(bucket.bucket, prefix=f"datasets/{opened.dataset_version_id}/")
        return [*(str(entry.object_name) for entry in begun.uploads), *self.keys(f"uploads/{upload_id(opened)}/")]

    async def until_nothing_remains(self, opened: UploadOpened) -> None:
        """The verdict is known a moment before what the upload leaves is deleted."""
        await self.until(lambda: self.remains(opened) == [])

    async def until_no_object(self, prefix: str) -> None:
        """Answers come a moment before the objects that are not needed any more are deleted."""
        await self.until(lambda: self.keys(prefix) == [])

    async def only_object(self, prefix: str) -> str:
        """The key of the one object that stays."""
        await self.until(lambda: len(self.keys(prefix)) == 1)
        return self.keys(prefix)[0]

    async def stored(self, content: bytes | None = None, *, filename: str = "data.jsonl") -> str:
        """The id of a dataset version that is stored."""
        content = jsonl(ROWS) if content is None else content
        opened = await self.open_upload(content, filename=filename)
        response = await self.put(opened, content)
        assert response.status_code == 201, response.text
        return opened.dataset_version_id

    async def mint(
        self, version_id: str, *, job_id: str | None = None, attempt: int = 1, **changes: Any
    ) -> tuple[DownloadMinted, "JobAccess"]:
        """Tokens for an attempt."""
        token = mint_token().get_secret_value()
        access = JobAccess(job_id or new_identifier("job"), attempt, token)
        request = MintDownload(
            job_id=access.job_id,
            attempt=attempt,
            owner=self.owner,
            dataset_version_id=version_id,
            job_token_sha256=token_hash(token),
            job_token_expires_at=datetime.now(UTC) + timedelta(hours=1),
        ).model_copy(update=changes)
        minted: DownloadMinted = await self.peers.ask(MINT, request)
        self.gateway.secrets += [token, minted.download_url.partition("token=")[2]]
        return minted, access

    async def put_artifact(self, access: "JobAccess", name: str, content: bytes, **headers: str) -> httpx.Response:
        """Send a result."""
        sent = {
            "Authorization": f"Bearer {access.token}",
            "X-Content-SHA256": hashlib.sha256(content).hexdigest(),
            **headers,
        }
        return await self.http.put(
            f"{self.gateway.url}/v1/jobs/{access.job_id}/artifacts/{name}", content=content, headers=sent
        )

    def keys(self, prefix: str) -> list[str]:
        """Objects in the store whose keys begin like this."""
        bucket = self.servers.bucket
        found = bucket.client().list_objects(bucket.bucket, prefix=prefix, recursive=True)
        return [str(entry.object_name) for entry in found]

    async def until_sql(self, condition: str) -> None:
        """Wait until the database says so."""
        while not (await self.sql(condition))[0][0]:  # noqa: ASYNC110 - as below
            await asyncio.sleep(0.05)

    async def until(self, is_so: Callable[[], bool]) -> None:
        """Wait; pytest's own limit ends it."""
        while not is_so():  # noqa: ASYNC110 - there is nothing to wait on, the other side is another process
            await asyncio.sleep(0.05)

    async def sql(self, statement: str) -> list[tuple[Any, ...]]:
        """Ask the database of the gateway."""
        connection = await asyncpg.connect(self.servers.database.url("dataset_gateway", driver="postgresql"))
        try:
            return [tuple(row) for row in await connection.fetch(statement)]
        finally:
            await connection.close()


def upload_id(opened: UploadOpened) -> str:
    """The id in the URL."""
    return str(opened.upload_url).rpartition("/")[2]


@dataclass(frozen=True)
class JobAccess:
    """What a pod holds."""

    job_id: str
    attempt: int
    token: str


@dataclass
class Servers:
    """What the gateway of a module runs on."""

    nats: RunningNats
    database: TestDatabase
    bucket: TestBucket


@pytest.fixture(scope="module")
def servers(
    nats_server: RunningNats, postgres: RunningPostgres, object_store_server: RunningObjectStore
) -> Iterator[Servers]:
    """Fresh streams, database and bucket, once per module: starting a gateway costs seconds."""
    with fresh_database(postgres) as database, fresh_bucket(object_store_server) as bucket:
        nats_server.loop.run(reset_bus(nats_server))
        yield Servers(nats_server, database, bucket)


@pytest.fixture(scope="module")
def gateway(
    servers: Servers, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Gateway]:
    """A gateway that runs until the module ends, with `SETTINGS` of the module. Its log must never hold a token."""
    port = free_port()
    url = servers.database.url("dataset_gateway")
    migrate_up(MIGRATIONS, database_url=SecretStr(url))
    running = Gateway(
        environment=environment_of(servers, url=url, port=port),
        port=port,
        log_file=tmp_path_factory.mktemp("gateway") / "gateway.log",
    )
    try:
        running.start(**getattr(request.module, "SETTINGS", {}))
        yield running
    finally:
        running.stop()
        log = running.log()
        for secret in [*running.secrets, servers.bucket.secret_key]:
            assert secret not in log


def environment_of(servers: Servers, *, url: str, port: int) -> dict[str, str]:
    """The settings of a gateway."""
    values = {
        "NATS_URL": servers.nats.url,
        "NATS_SEED_FILE": str(servers.nats.seed_files["dataset_gateway"]),
        "DATABASE_URL": url,
        "PORT": str(port),
        "PUBLIC_URL": f"http://127.0.0.1:{port}",
        "S3_ENDPOINT": servers.bucket.endpoint,
        "S3_ACCESS_KEY": servers.bucket.access_key,
        "S3_SECRET_KEY": servers.bucket.secret_key,
        "S3_BUCKET": servers.bucket.bucket,
        "LOG_LEVEL": "DEBUG",
    }
    return {f"STOKER_DATASET_GATEWAY_{name}": value for name, value in values.items()}


@asynccontextmanager
async def _peer(nats: RunningNats, service: str) -> AsyncIterator[RpcClient]:
    bus = Bus(BusSettings(url=nats.url, service=service, seed_file=nats.seed_files[service]))
    await bus.broker.connect()
    try:
        yield RpcClient(bus)
    finally:
        await bus.stop()


@pytest.fixture
async def world(gateway: Gateway, servers: Servers) -> AsyncIterator[World]:
    """The gateway with its peers, and a user of this test alone."""
    async with (
        _peer(servers.nats, "api") as api,
        _peer(servers.nats, "deployer") as deployer,
        httpx.AsyncClient(timeout=60, headers={"Accept-Encoding": "identity"}) as http,
    ):
        peers = Peers({"api": api, "deployer": deployer})
        yield World(gateway, peers, http, servers, owner=new_identifier("user"))


@pytest.fixture
def zipped() -> Callable[[bytes], bytes]:
    """Compress a file."""
    return gzip.compress

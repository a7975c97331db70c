"""The api as an HTTP server on real NATS and PostgreSQL, its peers, and users with keys."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import uvicorn
from fastapi import FastAPI
from pydantic import SecretStr

from stoker.stack.standalone import RunningNats
from stoker_api import MIGRATIONS
from stoker_api.dependencies import Parts
from stoker_api.main import create_api
from stoker_api.settings import ApiSettings
from stoker_shared.clock import ManualClock
from tests.integration.api.peers import Peers, running_peers
from tests.support.ports import free_port
from tests.support.servers import MakeDatabase, TestDatabase
from tests.unit.api.examples import DATASET_ID, NOW, a_recipe


@dataclass
class Api:
    """A replica that serves."""

    url: str
    application: FastAPI

    @property
    def parts(self) -> Parts:
        """The services behind its endpoints."""
        parts: Parts = self.application.state.parts
        return parts

    def client(self, key: str | None) -> httpx.AsyncClient:
        """A client with that key. Close it."""
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        return httpx.AsyncClient(base_url=self.url, headers=headers, timeout=20, trust_env=False)


@dataclass
class User:
    """A user with a key and a client of the first replica."""

    user_id: str
    key: str
    http: httpx.AsyncClient

    async def plan(self, **changes: Any) -> dict[str, Any]:
        """Make a plan of the usual dataset; fails unless it is made."""
        wanted = {"dataset_version_id": DATASET_ID, "recipe": a_recipe().model_dump(), "provider": "local"}
        response = await self.http.post("/v1/plans", json={**wanted, **changes})
        assert response.status_code == 201, response.text
        plan: dict[str, Any] = response.json()
        return plan

    async def launch(self, plan: dict[str, Any], *, key: str | None = None, **changes: Any) -> httpx.Response:
        """Launch a plan."""
        body = {"plan_id": plan["plan_id"], "plan_hash": plan["plan_hash"], **changes}
        return await self.http.post("/v1/jobs", json=body, headers={"Idempotency-Key": key} if key else {})

    async def job(self) -> str:
        """Plan and launch; the job's id."""
        response = await self.launch(await self.plan())
        assert response.status_code == 201, response.text
        return str(response.json()["job_id"])


Serve = Callable[..., AbstractAsyncContextManager[Api]]


@pytest.fixture
def clock() -> ManualClock:
    """The api's time."""
    return ManualClock(NOW)


@pytest.fixture
def api_database(migrated_database: MakeDatabase) -> TestDatabase:
    """A database with the api's tables."""
    return migrated_database("api", MIGRATIONS)


@pytest.fixture
async def peers(clean_bus: RunningNats) -> AsyncIterator[Peers]:
    """The other services, up."""
    async with running_peers(clean_bus) as running:
        yield running


@pytest.fixture
def serve(clean_bus: RunningNats, api_database: TestDatabase, clock: ManualClock) -> Serve:
    """Starts a replica: `async with serve(setting=value) as api`."""

    @asynccontextmanager
    async def start(**changes: Any) -> AsyncIterator[Api]:
        port = free_port()
        values: dict[str, Any] = {
            "nats_url": clean_bus.url,
            "nats_seed_file": clean_bus.seed_files["api"],
            "database_url": SecretStr(api_database.url("api")),
            "port": port,
            "public_url": f"http://127.0.0.1:{port}",
            "database_pool_size": 4,
        }
        application = create_api(ApiSettings(**{**values, **changes}), clock=clock)
        async with _served(application, port):
            yield Api(f"http://127.0.0.1:{port}", application)

    return start


@pytest.fixture
async def api(serve: Serve, peers: Peers) -> AsyncIterator[Api]:
    """One replica with its peers."""
    async with serve() as running:
        yield running


@pytest.fixture
async def user(api: Api, peers: Peers) -> AsyncIterator[User]:
    """A user who owns a stored dataset."""
    async with _new_user(api, "ada") as ada:
        peers.own_dataset(ada.user_id)
        yield ada


@pytest.fixture
async def stranger(api: Api) -> AsyncIterator[User]:
    """Another user, who owns nothing."""
    async with _new_user(api, "eve") as eve:
        yield eve


@asynccontextmanager
async def _new_user(api: Api, name: str) -> AsyncIterator[User]:
    user_id, key = await api.parts.accounts.create_user(name)
    async with api.client(key.get_secret_value()) as http:
        yield User(user_id, key.get_secret_value(), http)


@asynccontextmanager
async def _served(application: FastAPI, port: int) -> AsyncIterator[None]:
    config = uvicorn.Config(
        application, host="127.0.0.1", port=port, log_config=None, access_log=False, timeout_graceful_shutdown=2
    )
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve())
    try:
        while not server.started:
            if task.done():
                task.result()
                raise AssertionError("the api ended while it started")
            await asyncio.sleep(0.01)
        yield
    finally:
        server.should_exit = True
        await task

"""The HTTP application of the simulator."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from stoker.stack.orphans import keep_reaping
from stoker_shared.clock import Clock
from stoker_shared.tasks import end_tasks
from tests.simulators.runpod.admin import Admin
from tests.simulators.runpod.catalogue_endpoints import CatalogueEndpoints
from tests.simulators.runpod.cloud import Cloud
from tests.simulators.runpod.door import Door, Handler
from tests.simulators.runpod.faults import Operation
from tests.simulators.runpod.graphql import GraphqlEndpoint
from tests.simulators.runpod.log_endpoint import LogEndpoint
from tests.simulators.runpod.pod_endpoints import PodEndpoints
from tests.simulators.runpod.problems import Problem, not_found
from tests.simulators.runpod.rules import Rules

_REAP_EVERY = timedelta(seconds=0.5)
_ALL_METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]
_GONE = "REST API v1 has been retired. Use https://api.runpod.io/v2 instead."


def create_app(rules: Rules, *, folder: Path, clock: Clock) -> Starlette:
    """The application; pods live while its lifespan does."""
    cloud = Cloud(rules, folder=folder, clock=clock)
    door = Door(cloud)

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        reaper = asyncio.create_task(keep_reaping(_REAP_EVERY), name="reap orphans")
        try:
            await cloud.open()
            yield
        finally:
            await cloud.close()
            await end_tasks([reaper])

    routes = [
        *(Route(path, door.endpoint(name, handler), methods=[verb]) for verb, path, name, handler in _table(cloud)),
        *Admin(cloud, door).routes(),
        Route("/readyz", _ready, methods=["GET"]),
        Route("/v1/{rest:path}", _retired, methods=_ALL_METHODS),
    ]
    return Starlette(routes=routes, lifespan=lifespan, exception_handlers={HTTPException: _no_such_route})


def _table(cloud: Cloud) -> tuple[tuple[str, str, Operation, Handler], ...]:
    pods, catalogue = PodEndpoints(cloud), CatalogueEndpoints(cloud)
    return (
        ("POST", "/v2/pods", "create", pods.create),
        ("GET", "/v2/pods", "list", pods.list),
        ("GET", "/v2/pods/{id}", "get", pods.get),
        ("PATCH", "/v2/pods/{id}", "update", pods.update),
        ("DELETE", "/v2/pods/{id}", "delete", pods.delete),
        ("POST", "/v2/pods/{id}/action", "action", pods.action),
        ("GET", "/v2/pods/{id}/logs", "logs", LogEndpoint(cloud).follow),
        ("GET", "/v2/catalog/gpus", "catalog", catalogue.gpus),
        ("GET", "/v2/catalog/gpus/{id}", "catalog", catalogue.gpu),
        ("GET", "/v2/catalog/datacenters", "catalog", catalogue.data_centers),
        ("GET", "/v2/billing/pods", "billing", catalogue.billing),
        ("POST", "/graphql", "graphql", GraphqlEndpoint(cloud).query),
    )


async def _ready(_request: Request) -> Response:
    return JSONResponse({"status": "ready"})


async def _retired(_request: Request) -> Response:
    return Problem(410, _GONE).response()


async def _no_such_route(_request: Request, error: Exception) -> Response:
    if isinstance(error, HTTPException) and error.status_code == 405:
        detail = "The requested method is not allowed for this path."
        return Problem(405, detail, headers=error.headers).response()
    return not_found().response()

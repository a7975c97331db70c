"""HTTP of the training server: parse, call, answer."""

import os
import secrets
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Request, Response

from stoker_trainer.server.errors import NotAuthorised
from stoker_trainer.server.inspection import inspect_model
from stoker_trainer.server.machines import Machines
from stoker_trainer.server.schemas import (
    InspectRequest,
    LogPart,
    Machine,
    MachineList,
    MachineRequest,
    ModelFacts,
    OfferList,
)
from stoker_trainer.server.settings import Settings

MAX_LOG_BYTES = 1 << 20
Name = Annotated[str, Path(pattern=r"^[a-z0-9-]{1,80}$")]


def require_key(request: Request) -> None:
    """Let nobody in without the API key. Raises NotAuthorised."""
    settings: Settings = request.app.state.settings
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    expected = settings.api_key.get_secret_value()
    if scheme.lower() != "bearer" or not secrets.compare_digest(given.encode(), expected.encode()):
        raise NotAuthorised


def machines_of(request: Request) -> Machines:
    """The machines of this server."""
    machines: Machines = request.app.state.machines
    return machines


Here = Annotated[Machines, Depends(machines_of)]
router = APIRouter(prefix="/v1", dependencies=[Depends(require_key)])
health_router = APIRouter()


@router.post("/machines", status_code=201)
def create_machine(body: MachineRequest, machines: Here, response: Response) -> Machine:
    """Start a machine: 201, or 200 with the existing one when the same was asked for before."""
    machine, is_new = machines.create(body)
    response.status_code = 201 if is_new else 200
    return machine


@router.get("/machines")
def list_machines(machines: Here) -> MachineList:
    """All machines, oldest first."""
    return MachineList(machines=machines.list_all())


@router.get("/machines/{name}")
def get_machine(name: Name, machines: Here) -> Machine:
    """One machine."""
    return machines.get(name)


@router.delete("/machines/{name}", status_code=202)
def terminate_machine(name: Name, machines: Here) -> Machine:
    """Ask for a machine's end. `terminated` is shown only when nothing of it is left."""
    return machines.terminate(name)


@router.get("/machines/{name}/logs")
def read_logs(
    name: Name,
    machines: Here,
    offset: Annotated[int, Query(ge=0)] = 0,
    limit: Annotated[int, Query(ge=4, le=MAX_LOG_BYTES)] = 65_536,
) -> LogPart:
    """The log from a byte offset."""
    return machines.log_part(name, offset=offset, limit=limit)


@router.get("/offers")
def list_offers(machines: Here) -> OfferList:
    """What this server has and what of it is free."""
    return OfferList(offers=machines.offers())


@router.post("/models/inspect")
def inspect(body: InspectRequest, request: Request) -> ModelFacts:
    """Facts about a model, without loading it."""
    settings: Settings = request.app.state.settings
    roots = os.pathsep.join(str(root) for root in settings.model_roots)
    return inspect_model(body.name_or_path, model_roots=roots)


@health_router.get("/healthz")
def is_alive() -> dict[str, str]:
    """The process answers."""
    return {"status": "ok"}


@health_router.get("/readyz")
def is_ready(machines: Here) -> dict[str, str]:
    """The state on disk is loaded and machines are taken."""
    machines.offers()
    return {"status": "ready"}

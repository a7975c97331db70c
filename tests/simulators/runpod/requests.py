"""Bodies of requests, by type and by rule: 422 where the contract is broken, 400 where a rule is."""

from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import Request

from tests.simulators.runpod.problems import Problem, contract_broken

MOST_BYTES = 102_400
MOST_VARIABLES = 50

CudaVersion = Annotated[str, Field(pattern=r"^[0-9]+\.[0-9]+$")]
Cloud = Literal["SECURE", "COMMUNITY"]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Gpu(_Body):
    """One type and how many of it."""

    id: str
    count: int = Field(default=1, ge=1)
    allowedCudaVersions: list[CudaVersion] = []  # noqa: N815 - names of the API
    minCudaVersion: CudaVersion = "0.0"  # noqa: N815


class Cpu(_Body):
    """A flavour and how many virtual CPUs."""

    id: str = Field(min_length=1)
    vcpuCount: int = Field(ge=2)  # noqa: N815


class PersistentMount(_Body):
    """A volume that stays with the pod."""

    size: int = Field(ge=10)
    path: str


class NetworkMount(_Body):
    """A volume that others have, too."""

    volumeId: str  # noqa: N815
    path: str


class Mounts(_Body):
    """At most one kind."""

    persistent: PersistentMount = PersistentMount(size=10, path="")
    network: list[NetworkMount] = Field(default=[], max_length=1)

    def shown(self) -> dict[str, Any]:
        """As a pod shows it."""
        return self.model_dump(exclude_unset=True)


class _Container(_Body):
    args: str = ""
    disk: int = Field(default=0, ge=1)
    env: dict[str, str] = {}
    image: str = ""
    ports: list[str] = []
    registry: str | None = None
    mounts: Mounts = Mounts()
    globalNetworking: bool = False  # noqa: N815


class CreatePod(_Container):
    """`POST /v2/pods`."""

    name: str = Field(min_length=1)
    cloud: Cloud = "SECURE"
    cpu: Cpu | None = None
    gpu: Gpu | None = None
    dataCenterIds: list[str] = []  # noqa: N815
    startJupyter: bool = False  # noqa: N815
    startSsh: bool = False  # noqa: N815
    templateId: str = Field(default="", min_length=1)  # noqa: N815


class UpdatePod(_Container):
    """`PATCH /v2/pods/{id}`."""

    name: str = Field(default="", min_length=1)
    locked: bool = False
    templateId: str = ""  # noqa: N815


class Action(_Body):
    """`POST /v2/pods/{id}/action`."""

    action: Literal["start", "stop", "restart", "terminate"]


BodyT = TypeVar("BodyT", bound=_Body)


async def json_body(request: Request) -> Any:
    """The body of a request.

    Raises:
        Problem: 413 too long, 400 not JSON.
    """
    raw = await request.body()
    if len(raw) > MOST_BYTES:
        raise Problem(413, f"request body exceeds {MOST_BYTES} bytes")
    try:
        return await request.json()
    except ValueError as error:
        raise Problem(400, "request body is not valid JSON") from error


def parse_create(body: Any) -> CreatePod:
    """A wish for a pod that keeps the contract and all rules that need no look at the cloud.

    Raises:
        Problem: 422 or 400, with what is wrong.
    """
    order = _validated(CreatePod, body)
    given = order.model_fields_set
    # null is not a value that these have.
    nulls = [name for name in ("gpu", "cpu") if name in given and getattr(order, name) is None]
    if nulls:
        raise Problem(422, "Request validation failed.", errors=[f"$.{name}: got null, want object" for name in nulls])
    if "image" not in given and "templateId" not in given:
        raise _missing_image(body)
    if (order.gpu is None) == (order.cpu is None):
        raise Problem(400, "exactly one of gpu or cpu must be provided")
    if "disk" not in given:
        raise Problem(400, "disk is required")
    if order.gpu and {"allowedCudaVersions", "minCudaVersion"} <= order.gpu.model_fields_set:
        raise Problem(400, "allowedCudaVersions and minCudaVersion are mutually exclusive")
    if order.cpu and order.cpu.vcpuCount & (order.cpu.vcpuCount - 1):
        raise Problem(400, "vcpuCount must be a power of 2")
    _obeys_container_rules(order)
    return order


def parse_update(body: Any) -> UpdatePod:
    """Changes of a pod.

    Raises:
        Problem: 422 or 400, with what is wrong.
    """
    changes = _validated(UpdatePod, body)
    _obeys_container_rules(changes)
    return changes


def parse_action(body: Any) -> str:
    """The action.

    Raises:
        Problem: 422.
    """
    return _validated(Action, body).action


def _validated(kind: type[BodyT], body: Any) -> BodyT:
    try:
        return kind.model_validate(body)
    except ValidationError as fault:
        raise contract_broken(fault, body) from fault


def _missing_image(body: dict[str, Any]) -> Problem:
    names = ", ".join(repr(name) for name in body)
    errors = ["$: missing property 'image'", f"$: additional properties {names} not allowed"]
    return Problem(422, "Request validation failed.", errors=errors)


def _obeys_container_rules(wish: _Container) -> None:
    if len(wish.env) > MOST_VARIABLES:
        raise Problem(400, f"a pod may have at most {MOST_VARIABLES} environment variables, got {len(wish.env)}")
    if {"persistent", "network"} <= wish.mounts.model_fields_set:
        raise Problem(400, "persistent and network mounts are mutually exclusive")

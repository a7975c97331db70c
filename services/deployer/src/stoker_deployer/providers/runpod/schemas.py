"""What RunPod answers, as far as it is read here. Contents that may be secrets are kept out of `repr`."""

from decimal import Decimal
from typing import Annotated

from pydantic import AwareDatetime, BaseModel, BeforeValidator, Field


class Runtime(BaseModel):
    """`uptime`: seconds since the container started; it starts again when the container does."""

    uptime: int | None = None


class Pod(BaseModel):
    """A pod. `status` stays a string: a word that is new must not hide a machine. `cost` is USD per hour now."""

    id: str = Field(min_length=1)
    name: str
    status: str
    image: str | None = None
    disk: int | None = None
    mounts: "Mounts | None" = None
    env: dict[str, str] | None = Field(default=None, repr=False)
    cost: Decimal | None = None
    runtime: Runtime | None = None
    created_at: AwareDatetime | None = Field(default=None, alias="createdAt")
    started_at: AwareDatetime | None = Field(default=None, alias="startedAt")


class PersistentMount(BaseModel):
    """A disk of the host's that outlives a restart of the container."""

    size: int


class Mounts(BaseModel):
    """What is mounted; network volumes are not used."""

    persistent: PersistentMount | None = None


class Pagination(BaseModel):
    """Where a list goes on."""

    has_next_page: bool = Field(default=False, alias="hasNextPage")
    next_cursor: str | None = Field(default=None, alias="nextCursor")


class PodList(BaseModel):
    """A page of pods. Without `pagination` it is the whole list."""

    pods: list[Pod]
    pagination: Pagination | None = None


class PerCloud(BaseModel):
    """A number for each cloud."""

    secure: Decimal = Decimal(0)
    community: Decimal = Decimal(0)


class Stock(BaseModel):
    """How much of something a data centre has."""

    id: str
    availability: str


class GpuType(BaseModel):
    """A GPU type. `memory` is GB of one GPU, `price` USD per hour of one GPU, `max_count` the largest machine."""

    id: str
    name: str
    manufacturer: str
    memory: int
    secure: bool
    community: bool
    price: PerCloud
    max_count: PerCloud = Field(alias="maxCount")
    availability: str | None = None
    data_centres: Annotated[list[Stock], BeforeValidator(lambda listed: listed or [])] = Field(
        default_factory=list, alias="dataCenters"
    )


class Catalogue(BaseModel):
    """All GPU types."""

    gpus: list[GpuType]


class BillRecord(BaseModel):
    """What one pod cost in one span of time."""

    pod_id: str = Field(alias="podId")
    total_amount: Decimal = Field(alias="totalAmount")


class Bills(BaseModel):
    """Records of the spans asked for."""

    records: list[BillRecord]


class LogEvent(BaseModel):
    """One line. `source` is `container` or `system`."""

    source: str = "container"
    line: str = ""


class Myself(BaseModel):
    """The account by GraphQL: what was asked for. `client_balance` is USD."""

    id: str | None = None
    client_balance: Decimal | None = Field(default=None, alias="clientBalance")


class MyselfData(BaseModel):
    """The envelope of the data."""

    myself: Myself | None = None


class MyselfAnswer(BaseModel):
    """GraphQL answers faults with HTTP 200, then `data` is null or its parts are."""

    data: MyselfData | None = None

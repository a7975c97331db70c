"""What goes in and out of the training server."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

MachineName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]{1,80}$")]


class MachineState(StrEnum):
    """`exited`: the process ended by itself; `terminated`: it was ended, and nothing of it is left."""

    QUEUED = "queued"
    STARTING = "starting"
    RUNNING = "running"
    EXITED = "exited"
    TERMINATED = "terminated"


class MachineRequest(BaseModel):
    """A machine to start. `gpu_count` 0 runs on the CPU."""

    model_config = ConfigDict(extra="forbid")

    name: MachineName
    env: dict[Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")], str]
    gpu_count: int = Field(default=0, ge=0, le=64)


class Machine(BaseModel):
    """A machine as the outside sees it. `queue_position` counts from 1 and is null unless queued."""

    name: str
    state: MachineState
    exit_code: int | None
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    slot: int | None
    price_micro_usd_per_hour: int
    queue_position: int | None


class MachineList(BaseModel):
    """All machines that were not forgotten, oldest first."""

    machines: list[Machine]


class LogPart(BaseModel):
    """Text of the log from byte `offset`; read on at `next_offset`."""

    offset: int
    next_offset: int
    text: str


class Offer(BaseModel):
    """What can be had here. `vram_bytes` is null for the CPU, `gpu_count_max` 0."""

    gpu_type: str
    gpu_count_max: int
    vram_bytes: int | None
    memory_bytes: int
    price_micro_usd_per_hour: int
    slots_total: int
    slots_free: int


class OfferList(BaseModel):
    """All offers."""

    offers: list[Offer]


class InspectRequest(BaseModel):
    """A model to look at: a path, a name below a model root, or a hub name."""

    model_config = ConfigDict(extra="forbid")

    name_or_path: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=512)]


class ModelFacts(BaseModel):
    """What a plan needs to know about a model. `parameters` counts stored weights; tied ones once."""

    name_or_path: str
    architecture: str
    parameters: int
    hidden_size: int
    layers: int
    attention_heads: int
    key_value_heads: int
    intermediate_size: int
    vocabulary: int
    max_position: int
    has_chat_template: bool
    weights_bytes: int

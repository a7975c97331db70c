"""Plans as users ask for and see them."""

import re
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator

from stoker_api.plans.disk import Disk
from stoker_api.plans.forecast import Forecast
from stoker_api.plans.freeze import FrozenPlan
from stoker_api.plans.memory import FitVerdict, MemoryNeed
from stoker_api.plans.tokens import TokenLengths
from stoker_shared.identifiers import Identifier
from stoker_shared.pod_variables import is_reserved
from stoker_shared.recipe import Recipe
from stoker_shared.rpc.dataset_gateway import DatasetFacts
from stoker_shared.rpc.deployer import ModelFacts, Offer

_NAME = re.compile(r"^[A-Za-z_][A-Za-z0-9_]*$")
_MOST_VARIABLES = 50
# A launch command must fit into a message, and providers take about 100 kB.
_MOST_BYTES = 65_536


def _checked_environment(environment: dict[str, str]) -> dict[str, str]:
    if len(environment) > _MOST_VARIABLES:
        raise ValueError(f"at most {_MOST_VARIABLES} variables")
    for name, value in environment.items():
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name[:80]!r} is not a name of a variable")
        if is_reserved(name):
            raise ValueError(f"{name[:80]} is a name that Stoker keeps for itself")
        if "\0" in value:
            raise ValueError(f"the value of {name} holds a NUL")
    if sum(len(f"{name}={value}".encode()) for name, value in environment.items()) > _MOST_BYTES:
        raise ValueError(f"more than {_MOST_BYTES} bytes in all")
    return environment


Environment = Annotated[dict[str, str], AfterValidator(_checked_environment)]
Dollars = Annotated[Decimal, Field(gt=0, le=1_000_000, description='US dollars, such as "12.50"')]
ProjectName = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=100, pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._-]*$"),
]
PodSecret = Literal["huggingface", "wandb"]
ProviderName = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100)]
DockerImage = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=500)]


class PlanLimits(BaseModel):
    """What a plan may use, whoever asks for it."""

    model_config = ConfigDict(extra="forbid")

    dataset_version_id: Identifier
    gpu_type: Annotated[str, StringConstraints(min_length=1, max_length=100)] | None = None
    gpu_count: int | None = Field(default=None, ge=0, le=64, description="0 for a machine without GPU")
    docker_image: DockerImage | None = None
    volume_size_gb: int | None = Field(
        default=None,
        ge=1,
        le=65_536,
        description="Of a rented machine; null: the provider's usual, or as much as needed",
    )
    keep_alive_seconds: int = Field(
        default=0, ge=0, le=86_400, description="How long the machine stays after a success; it costs until then"
    )
    project: ProjectName = Field(default="default", description="Whose budget it counts against, besides your own")
    max_price_usd_per_hour: Dollars | None = Field(default=None, description="Dearer machines are not taken")
    secrets: set[PodSecret] = Field(
        default_factory=set, description="Which of your secrets the machine sees: as HF_TOKEN, as WANDB_API_KEY"
    )


class NewPlan(PlanLimits):
    """What is to be trained, where, and for how much at most."""

    recipe: Recipe | None = None
    recipe_id: Identifier | None = None
    provider: ProviderName
    budget_usd: Dollars | None = None
    max_attempts: int | None = Field(default=None, ge=1, le=20)
    max_duration_seconds: int | None = Field(default=None, ge=60, le=31_536_000)
    environment: Environment = Field(default_factory=dict)

    @model_validator(mode="after")
    def _one_recipe(self) -> Self:
        if (self.recipe is None) == (self.recipe_id is None):
            raise ValueError("give either recipe or recipe_id")
        return self


class Fault(BaseModel):
    """One thing that blocks a launch, or that is worth knowing. `code` is stable."""

    code: str
    message: str
    next_step: str


class RankedOffer(BaseModel):
    """An offer and whether the run fits into it."""

    offer: Offer
    fit: FitVerdict
    needed_bytes: int | None = Field(default=None, description="On one device, headroom included")
    capacity_bytes: int | None = Field(default=None, description="Of one device; null if the provider does not tell")


class Fit(BaseModel):
    """What the run needs on the best offer's kind of device, and the share of what."""

    need: MemoryNeed
    total_bytes: int
    needed_bytes: int
    on_gpu: bool


class Budget(BaseModel):
    """What the job may cost in all its attempts. `minimum` is what an attempt reserves at the best offer's price."""

    budget_micro_usd: int
    minimum_micro_usd: int
    is_default: bool


class Plan(BaseModel):
    """A plan: what would be launched under `plan_hash`, what it takes, and what stands in the way."""

    plan_id: str
    plan_hash: str
    name: str
    is_launchable: bool
    blocking: list[Fault]
    warnings: list[Fault]
    dataset: DatasetFacts
    model: ModelFacts | None
    tokens: TokenLengths | None = Field(default=None, description="null if dataset or model cannot be looked at")
    fit: Fit | None
    disk: Disk | None = Field(default=None, description="null if dataset, model or machine is not known")
    offers: list[RankedOffer]
    forecast: Forecast | None
    budget: Budget
    frozen: FrozenPlan
    created_at: datetime
    expires_at: datetime

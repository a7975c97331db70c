"""Freezing a plan: one text for one content, and its SHA-256."""

import hashlib
import json
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from stoker_shared.commands import PlannedOffer
from stoker_shared.money import NonNegativeMicroUsd
from stoker_shared.recipe import DataFormat, Recipe

# For a plan whose dataset or model is not known; it cannot be launched.
DISK_NEEDED_UNKNOWN = 10_000_000_000


class FrozenPlan(BaseModel):
    """Everything that a launch of this plan will do. Money is in whole micro-dollars; environment by name only.

    The values of the environment lie beside the plan and are never shown: users put secrets there. They cannot
    change, since a plan cannot.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: int = 3
    owner: str
    project: str = "default"
    provider: str
    dataset_version_id: str
    dataset_sha256: str
    data_format: DataFormat | None
    recipe: Recipe
    offers: list[PlannedOffer] = Field(description="Tried in this order: by fit, then price")
    budget_micro_usd: NonNegativeMicroUsd
    max_price_micro_usd_per_hour: NonNegativeMicroUsd | None = None
    max_attempts: int
    max_duration_seconds: int
    docker_image: str | None
    volume_size_gb: int | None
    disk_needed_bytes: int = Field(
        default=DISK_NEEDED_UNKNOWN, description="What the machine must have free when it starts"
    )
    keep_alive_seconds: int = 0
    environment_names: list[str]
    secrets: list[str] = Field(default_factory=list, description="Names of the owner's secrets that the pod sees")


def freeze(plan: FrozenPlan) -> tuple[str, str]:
    """The canonical JSON of a plan and its SHA-256 in hex. Equal content gives equal text."""
    text = canonical_json(plan.model_dump(mode="json"))
    return text, hashlib.sha256(text.encode()).hexdigest()


def thaw(text: str) -> FrozenPlan:
    """The plan that was frozen as this text."""
    return FrozenPlan.model_validate_json(text)


def canonical_json(values: Any) -> str:
    """Sorted keys, no white space, UTF-8; NaN and infinity are refused."""
    return json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)

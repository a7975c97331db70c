"""Commands: what a service is told to do. Stream `COMMANDS`, each consumed once."""

from typing import Any, ClassVar

from pydantic import Field

from stoker_shared import subjects
from stoker_shared.identifiers import Identifier
from stoker_shared.messages import Envelope, Message
from stoker_shared.money import NonNegativeMicroUsd
from stoker_shared.recipe import DataFormat, Recipe


class Command(Envelope):
    """Base of commands to the deployer."""

    verb: ClassVar[str]

    job_id: Identifier

    @property
    def subject(self) -> str:
        """Where this command is sent."""
        return subjects.deployer_command(self.job_id, self.verb)


class PlannedOffer(Message):
    """One way to get the machine, as the plan ranked it."""

    provider: str
    gpu_type: str
    gpu_count: int = Field(ge=0, description="0 for a machine without GPU")
    place: str = ""
    price_micro_usd_per_hour: NonNegativeMicroUsd
    vram_bytes: int | None = Field(default=None, ge=0, description="Memory of one GPU, where the provider tells it")


class LaunchJob(Command):
    """Run this frozen plan. `offers` are tried in order."""

    verb = "launch"
    schema_version: int = 4
    owner: str
    project: str = Field(default="default", description="Whose budget it counts against, besides the owner's")
    plan_id: Identifier
    plan_hash: str
    dataset_version_id: Identifier
    data_format: DataFormat
    recipe: Recipe
    offers: list[PlannedOffer] = Field(min_length=1)
    budget_micro_usd: NonNegativeMicroUsd
    max_attempts: int = Field(default=3, ge=1, le=20)
    max_duration_seconds: int = Field(default=86_400, ge=1)
    max_price_micro_usd_per_hour: NonNegativeMicroUsd | None = Field(
        default=None, description="Dearer offers are not taken"
    )
    priority: int = Field(default=0, ge=-10, le=10, description="Of jobs that wait, higher ones begin first")
    docker_image: str | None = None
    volume_size_gb: int | None = None
    environment: dict[str, str] = Field(default_factory=dict)
    keep_alive_seconds: int = Field(
        default=0, ge=0, le=86_400, description="A machine stays for so long after a success; it costs until then"
    )
    disk_needed_bytes: int = Field(
        default=10_000_000_000, ge=0, description="Room for packages, model, data and results on the machine"
    )
    secrets: list[str] = Field(
        default_factory=list, description="Names of the owner's secrets that the pod sees, such as huggingface"
    )

    def summary(self) -> dict[str, Any]:
        """A few fields for a log line; no environment, since users put secrets there."""
        return {"job_id": self.job_id, "plan_id": self.plan_id, "offers": len(self.offers)}


class CancelJob(Command):
    """End this job and release its machine, whatever state it is in."""

    verb = "cancel"

    requested_by: str
    why: str = ""


COMMANDS: tuple[type[Command], ...] = (LaunchJob, CancelJob)

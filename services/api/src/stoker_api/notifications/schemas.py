"""What is said about notifications."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from stoker_api.questions import HIGHEST
from stoker_shared.rpc.notifications import DeliveryState, NotificationType, TargetFacts, TargetKind

_STRICT = ConfigDict(extra="forbid", hide_input_in_errors=True)


class NewTarget(BaseModel):
    """Where to send. The address is sealed at once; nobody can read it back."""

    model_config = _STRICT

    name: str = Field(min_length=1, max_length=64, pattern=r"^[\w][\w .@-]*$")
    kind: TargetKind
    address: SecretStr = Field(
        min_length=3,
        max_length=2048,
        description="The https:// address of a webhook, an e-mail address, or what the service shows you for it",
    )
    signing_secret: SecretStr | None = Field(
        default=None, max_length=256, description="Of a webhook: `whsec_...`; left out, one is made and told once"
    )


class TargetMade(BaseModel):
    """A new target, or one with a new signing secret, which is told here and never again."""

    target: TargetFacts
    signing_secret: str | None = Field(default=None, description="Of a webhook; keep it to verify what arrives")


class TargetChange(BaseModel):
    """Pause a target, or use it again."""

    model_config = _STRICT

    state: Literal["active", "paused"]


class NewSigningSecret(BaseModel):
    """Another secret to sign with."""

    model_config = _STRICT

    signing_secret: SecretStr | None = Field(default=None, max_length=256, description="Left out, one is made")
    overlap_seconds: int = Field(
        default=86_400, ge=0, le=30 * 86_400, description="So long the old secret signs as well"
    )


class NewRule(BaseModel):
    """Of what a target is told."""

    model_config = _STRICT

    target_id: str = Field(pattern=r"^target-[0-9a-f]{16}$")
    events: list[NotificationType] = Field(min_length=1, max_length=20)
    project: str | None = Field(default=None, min_length=1, max_length=64, description="Left out: all projects")
    budget_share: float = Field(default=0.8, gt=0, le=1, description="For job.budget_share")
    queued_after_seconds: int = Field(default=1800, ge=60, le=30 * 86_400, description="For job.queued_long")


class DeliveryFilter(BaseModel):
    """Which deliveries to list."""

    model_config = _STRICT

    target_id: str | None = Field(default=None, pattern=r"^target-[0-9a-f]{16}$")
    job_id: str | None = Field(default=None, pattern=r"^job-[0-9a-f]{16}$")
    state: DeliveryState | None = None
    before: int | None = Field(
        default=None, ge=1, le=HIGHEST, description="`position` of the last one of the page before"
    )
    limit: int = Field(default=50, ge=1, le=200)

"""Settings of the deployer: `STOKER_DEPLOYER_*`. Durations are seconds (`30`) or ISO 8601 (`PT30S`)."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, field_validator, model_validator
from pydantic_settings import SettingsConfigDict

from stoker_deployer.jobs.policy import Policy
from stoker_deployer.pods.commands import PodLimits
from stoker_deployer.providers.hub import HUB_URL
from stoker_deployer.providers.runpod import settings as runpod
from stoker_deployer.queue.line import Limits
from stoker_shared.settings import ServiceSettings


def _seconds(value: object) -> object:
    try:
        return timedelta(seconds=float(value)) if isinstance(value, str) else value
    except ValueError:
        return value  # ISO 8601: pydantic reads it


def _positive(value: timedelta) -> timedelta:
    if value <= timedelta(0):
        raise ValueError("must be longer than nothing")
    return value


Duration = Annotated[timedelta, BeforeValidator(_seconds), AfterValidator(_positive)]


class DeployerSettings(ServiceSettings):
    """All that can be set. `policy` is the part that the pure rules read."""

    model_config = SettingsConfigDict(env_prefix="STOKER_DEPLOYER_", extra="ignore")

    metrics_public_url: str = Field(pattern=r"^https?://", description="Where pods reach the metrics service")
    gateway_public_url: str = Field(pattern=r"^https?://", description="Where pods reach the dataset gateway")
    local_url: str | None = Field(default=None, pattern=r"^https?://", description="The training server, if any")
    local_api_key: SecretStr | None = None
    vault_key_file: Path | None = Field(
        default=None, description="Keys of the vault, newest first; without it no secret can be set or opened"
    )
    wandb_url: str = Field(default="https://api.wandb.ai", pattern=r"^https?://")
    local_timeout: Duration = timedelta(seconds=5)
    local_launch_timeout: Duration = timedelta(seconds=10)

    runpod_api_key: SecretStr | None = Field(default=None, description="For owners without a key of their own")
    runpod_url: str = Field(default=runpod.URL, pattern=r"^https?://", description="With the version at its end")
    runpod_graphql_url: str = Field(default=runpod.GRAPHQL_URL, pattern=r"^https?://", description="For the balance")
    runpod_image: str = Field(default=runpod.IMAGE, min_length=1, description="Of pods whose launch names none")
    runpod_min_cuda: str | None = Field(default=runpod.MIN_CUDA, pattern=r"^\d+\.\d+$", description="Of that image")
    runpod_disk_gb: int = Field(default=40, ge=5, description="What a restart of the container wipes")
    runpod_volume_gb: int = Field(default=40, ge=10, description="/workspace, of launches that name no size")
    runpod_clouds: list[runpod.Cloud] = Field(default=["secure", "community"], min_length=1)
    runpod_data_centres: list[str] = Field(default_factory=list, description="Anywhere if empty")
    runpod_timeout: Duration = timedelta(seconds=30)
    runpod_launch_timeout: Duration = Field(
        default=timedelta(seconds=60), description="Never more than two thirds of LEASE, whatever is set"
    )
    runpod_bill_settles_after: Duration = timedelta(minutes=10)
    hub_url: str = Field(
        default=HUB_URL, pattern=r"^https?://", description="The Hugging Face Hub or a mirror, for clouds' machines too"
    )
    pod_deadline_margin: Duration = Field(
        default=timedelta(minutes=15), description="How much later than the deployer a pod ends itself"
    )
    pod_silence: Duration = Field(
        default=timedelta(minutes=30), description="A pod that hears nothing of the control plane for so long ends"
    )

    max_active_jobs: int = Field(default=64, ge=1, description="Attempts with a machine at once, of everybody")
    max_active_per_user: int | None = Field(default=None, ge=1)
    max_active_per_project: int | None = Field(default=None, ge=1)
    max_active_per_provider: dict[str, Annotated[int, Field(ge=1)]] = Field(
        default_factory=dict, description='JSON, such as {"local": 4}'
    )
    workers: int = Field(default=16, ge=1, le=256)
    looks_per_second: int = Field(default=200, ge=1, description="Of all replicas; more jobs wait longer for a look")
    lease: Duration = timedelta(seconds=30)
    poll_interval: Duration = timedelta(milliseconds=500)
    orphan_sweep_interval: Duration = timedelta(minutes=2)
    stop_grace: Duration = timedelta(seconds=10)

    active_check: Duration = timedelta(seconds=2)
    calm_check_max: Duration = timedelta(seconds=60)
    queued_check: Duration = timedelta(seconds=15)
    failed_check_max: Duration = timedelta(seconds=30)
    absence_pause: Duration = timedelta(seconds=5)
    exit_report_grace: Duration = timedelta(seconds=20)
    heartbeat_timeout: Duration = timedelta(seconds=120)
    no_progress_timeout: Duration = timedelta(minutes=30)
    start_timeout: Duration = timedelta(minutes=15)
    provision_timeout: Duration = timedelta(minutes=15)
    preparing_timeout: Duration = timedelta(hours=2)
    saving_timeout: Duration = timedelta(hours=2)
    terminate_stalled_after: Duration = timedelta(minutes=10)
    terminate_stalled_every: Duration = timedelta(hours=1)
    retry_delay: Duration = timedelta(seconds=5)
    retry_delay_max: Duration = timedelta(minutes=5)
    capacity_cooldown: Duration = timedelta(minutes=1)
    capacity_cooldown_max: Duration = timedelta(minutes=15)
    capacity_probe: Duration = timedelta(seconds=30)
    capacity_patience: Duration = timedelta(hours=24)
    breaker_spend_share: float = Field(default=0.5, gt=0, le=1)
    terminate_retry: Duration = timedelta(milliseconds=250)
    terminate_retry_max: Duration = timedelta(seconds=60)
    reservation: Duration = timedelta(hours=1)
    budget_tick: Duration = timedelta(seconds=10)
    accrue_every: Duration = timedelta(seconds=60)
    landing_default: Duration = timedelta(minutes=5)
    landing_safety: float = Field(default=1.5, ge=1, le=10)
    bill_ask_every: Duration = timedelta(seconds=30)
    settle_for: Duration = timedelta(hours=24)
    job_token_lifetime: Duration = timedelta(days=7)
    download_lifetime: Duration = timedelta(hours=24)

    @model_validator(mode="after")
    def _hangs_together(self) -> Self:
        if (self.local_url is None) != (self.local_api_key is None):
            raise ValueError("LOCAL_URL and LOCAL_API_KEY go together: set both or neither")
        # A claim is renewed each third of the lease; a launch must end before the lease of a silent claim does.
        if self.local_launch_timeout * 1.5 > self.lease:
            raise ValueError("LEASE must be at least one and a half times LOCAL_LAUNCH_TIMEOUT")
        return self

    @field_validator("max_active_per_provider", "runpod_clouds", "runpod_data_centres", mode="before")
    @classmethod
    def _from_json(cls, value: object) -> object:
        return json.loads(value) if isinstance(value, str) else value

    def limits(self) -> Limits:
        """How many attempts may have machines at once."""
        return Limits(
            everyone=self.max_active_jobs,
            per_user=self.max_active_per_user,
            per_project=self.max_active_per_project,
            per_provider=self.max_active_per_provider,
        )

    def pod_limits(self) -> PodLimits:
        """For how long a rented container goes on by itself."""
        return PodLimits(margin=self.pod_deadline_margin, silence=self.pod_silence, landing=self.landing_default)

    def runpod(self) -> runpod.RunpodSettings:
        """What every account at RunPod shares."""
        return runpod.RunpodSettings(
            url=self.runpod_url,
            graphql_url=self.runpod_graphql_url,
            image=self.runpod_image,
            min_cuda=self.runpod_min_cuda,
            disk_gb=self.runpod_disk_gb,
            volume_gb=self.runpod_volume_gb,
            clouds=tuple(self.runpod_clouds),
            data_centres=tuple(self.runpod_data_centres),
            timeout=self.runpod_timeout,
            # A launch must end before the lease of a silent claim does.
            launch_timeout=min(self.runpod_launch_timeout, self.lease / 1.5),
            bill_settles_after=self.runpod_bill_settles_after,
        )

    def policy(self) -> Policy:
        """The thresholds that `next_step` decides by."""
        return Policy(**{name: getattr(self, name) for name in Policy.__dataclass_fields__})

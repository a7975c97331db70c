"""`STOKER_DATASET_GATEWAY_*`."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated

from annotated_types import Gt
from pydantic import Field, SecretStr
from pydantic_settings import SettingsConfigDict

from stoker_dataset_gateway.artifacts.retention import RetentionRules
from stoker_dataset_gateway.checking import CheckLimits
from stoker_dataset_gateway.storage import StoreAddress
from stoker_shared.settings import ServiceSettings

Lifetime = Annotated[timedelta, Gt(timedelta(0))]


class Settings(ServiceSettings):
    """Settings of the dataset gateway. Sizes are bytes, durations ISO 8601, such as PT2H."""

    model_config = SettingsConfigDict(env_prefix="STOKER_DATASET_GATEWAY_", extra="ignore")

    s3_endpoint: str = Field(pattern=r"^[^/\s]+$", description="host:port, without scheme")
    s3_access_key: SecretStr
    s3_secret_key: SecretStr
    s3_bucket: str = Field(default="stoker", pattern=r"^[a-z0-9][a-z0-9.-]{2,62}$")
    s3_secure: bool = False
    s3_region: str = "us-east-1"

    max_upload_bytes: int = Field(default=20 * 10**9, ge=1)
    max_artifact_bytes: int = Field(default=100 * 10**9, ge=1)
    max_job_bytes: int = Field(default=500 * 10**9, ge=1, description="all artifacts of a job, with those on their way")
    max_line_bytes: int = Field(default=8 * 2**20, ge=1024)
    max_unpacked_bytes: int = Field(default=200 * 10**9, ge=1)
    max_listed_faults: int = Field(default=100, ge=1, le=500, description="all of them travel in one message")

    upload_lifetime: Lifetime = timedelta(hours=24)
    download_lifetime: Lifetime = timedelta(hours=2)
    idle_timeout: Lifetime = timedelta(seconds=60)
    artifact_upload_lifetime: Lifetime = Field(default=timedelta(hours=24), description="from the last part on")
    keep_checkpoints: Lifetime | None = Field(default=timedelta(days=14), description="after the job's last attempt")
    keep_artifacts: Lifetime | None = Field(default=None, description="all but checkpoints; none: for ever")
    trainer_bundle: Path | None = Field(default=None, description="the wheel that `make bundle` builds")
    write_lease: Lifetime = timedelta(seconds=60)
    sweep_every: Lifetime = timedelta(minutes=1)
    keep_expired: timedelta = timedelta(hours=24)

    @property
    def store_address(self) -> StoreAddress:
        """Where the object store is."""
        return StoreAddress(
            endpoint=self.s3_endpoint,
            access_key=self.s3_access_key,
            secret_key=self.s3_secret_key,
            bucket=self.s3_bucket,
            region=self.s3_region,
            is_secure=self.s3_secure,
        )

    @property
    def check_limits(self) -> CheckLimits:
        """Limits of the data check."""
        return CheckLimits(
            line_bytes=self.max_line_bytes,
            unpacked_bytes=self.max_unpacked_bytes,
            listed_faults=self.max_listed_faults,
        )

    @property
    def retention_rules(self) -> RetentionRules:
        """How long artifacts are kept."""
        return RetentionRules(
            checkpoints=self.keep_checkpoints,
            others=self.keep_artifacts,
            uploads=self.artifact_upload_lifetime,
            answers=self.keep_expired,
        )

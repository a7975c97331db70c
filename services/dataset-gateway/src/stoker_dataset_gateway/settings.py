"""`STOKER_DATASET_GATEWAY_*`."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Annotated

from annotated_types import Gt
from pydantic import Field
from pydantic_settings import SettingsConfigDict

from stoker_dataset_gateway.artifacts.retention import RetentionRules
from stoker_dataset_gateway.checking import CheckLimits
from stoker_dataset_gateway.downloads.limits import TokenAllowance
from stoker_dataset_gateway.lengths.service import CountingRules
from stoker_dataset_gateway.tokens.failed_tries import TryRules
from stoker_shared.object_store.address import StoreAddress, StoreSettings
from stoker_shared.settings import ServiceSettings

Lifetime = Annotated[timedelta, Gt(timedelta(0))]


class Settings(StoreSettings, ServiceSettings):
    """Settings of the dataset gateway. Sizes are bytes, durations ISO 8601, such as PT2H."""

    model_config = SettingsConfigDict(env_prefix="STOKER_DATASET_GATEWAY_", extra="ignore")

    # How long a start waits for servers that do not answer yet, before the process ends with the reason.
    start_patience: Lifetime = timedelta(seconds=60)

    max_upload_bytes: int = Field(default=20 * 10**9, ge=1)
    max_artifact_bytes: int = Field(default=100 * 10**9, ge=1)
    max_job_bytes: int = Field(default=500 * 10**9, ge=1, description="all artifacts of a job, with those on their way")
    max_line_bytes: int = Field(default=8 * 2**20, ge=1024)
    max_unpacked_bytes: int = Field(default=200 * 10**9, ge=1)
    max_listed_faults: int = Field(default=100, ge=1, le=500, description="all of them travel in one message")
    max_listed_warnings: int = Field(default=50, ge=1, le=250, description="as max_listed_faults")
    check_memory_bytes: int = Field(default=4 * 2**30, ge=2**30, description="address space of one such process")
    check_silence: Lifetime = timedelta(minutes=5)
    count_most_rows: int = Field(default=50_000, ge=1, description="rows whose tokens are counted, evenly spaced")
    count_most_bytes: int = Field(default=2 * 10**9, ge=2**20)
    count_within: Lifetime = timedelta(seconds=30)
    model_root: Path | None = Field(default=None, description="tokenizers are read only below it; any folder if unset")

    redirect_endpoint: str | None = Field(
        default=None, pattern=r"^https?://[^/\s]+$", description="the store as clients reach it; they are sent there"
    )
    redirect_lifetime: Lifetime = timedelta(minutes=10)
    token_requests_per_minute: int = Field(default=600, ge=1, le=60_000)
    token_burst: int = Field(default=60, ge=1)
    token_downloads_at_once: int = Field(default=16, ge=1)
    free_tries: int = Field(default=20, ge=1, description="refused tokens of one address before it has to wait")
    first_wait: Lifetime = timedelta(seconds=1)
    longest_wait: Lifetime = timedelta(minutes=1)
    forget_tries_after: Lifetime = timedelta(minutes=10)
    trusted_proxies: list[str] = Field(default=[], description="their X-Forwarded-For is believed: addresses, networks")
    write_use_every: Lifetime = timedelta(seconds=1)

    upload_lifetime: Lifetime = timedelta(hours=24)
    download_lifetime: Lifetime = timedelta(hours=2)
    idle_timeout: Lifetime = timedelta(seconds=60)
    artifact_upload_lifetime: Lifetime = Field(default=timedelta(hours=24), description="from the last part on")
    keep_checkpoints: Lifetime | None = Field(default=timedelta(days=14), description="after the job's last attempt")
    keep_artifacts: Lifetime | None = Field(default=None, description="all but checkpoints; none: for ever")
    trainer_bundle: Path | None = Field(default=None, description="the wheel that `make bundle` builds")
    write_lease: Lifetime = timedelta(seconds=60)
    upload_lease: Lifetime = Field(
        default=timedelta(seconds=15),
        description="how long an upload stays its sender's, or a check its process's, without a sign of life",
    )
    checks_at_once: int = Field(default=2, ge=1, le=64)
    sweep_every: Lifetime = timedelta(minutes=1)
    keep_expired: timedelta = timedelta(hours=24)

    @property
    def counting_rules(self) -> CountingRules:
        """Bounds of counting tokens."""
        return CountingRules(
            most_rows=self.count_most_rows,
            most_bytes=self.count_most_bytes,
            within=self.count_within,
            model_root=self.model_root,
        )

    @property
    def public_store_address(self) -> StoreAddress | None:
        """Where clients fetch from by themselves, None if they are served here."""
        if self.redirect_endpoint is None:
            return None
        scheme, _, endpoint = self.redirect_endpoint.partition("://")
        return replace(self.store_address, endpoint=endpoint, is_secure=scheme == "https")

    @property
    def token_allowance(self) -> TokenAllowance:
        """What one download token may do."""
        return TokenAllowance(
            requests_per_minute=self.token_requests_per_minute,
            burst=self.token_burst,
            downloads_at_once=self.token_downloads_at_once,
        )

    @property
    def try_rules(self) -> TryRules:
        """How addresses whose tokens fail are slowed."""
        return TryRules(
            free=self.free_tries,
            first_wait=self.first_wait,
            longest=self.longest_wait,
            forget_after=self.forget_tries_after,
        )

    @property
    def check_limits(self) -> CheckLimits:
        """Limits of the data check."""
        return CheckLimits(
            line_bytes=self.max_line_bytes,
            unpacked_bytes=self.max_unpacked_bytes,
            listed_faults=self.max_listed_faults,
            listed_warnings=self.max_listed_warnings,
            memory_bytes=self.check_memory_bytes,
            silence=self.check_silence,
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

"""Settings of the metrics service, `STOKER_METRICS_*`."""

from datetime import timedelta
from typing import Annotated

from annotated_types import Gt
from pydantic import Field
from pydantic_settings import SettingsConfigDict

from stoker_metrics.notifications.settings import NotificationSettings
from stoker_metrics.storing.loss import LossRules
from stoker_shared.settings import ServiceSettings

Duration = Annotated[timedelta, Gt(timedelta(0))]

LARGEST_BODY_BYTES = 700 * 1024
"""A message of the broker holds 1 MB; a body may grow a little when it is written anew."""


class MetricsSettings(NotificationSettings, ServiceSettings):
    """One object per process. Durations are ISO 8601 (`PT2S`) or seconds."""

    model_config = SettingsConfigDict(env_prefix="STOKER_METRICS_", extra="ignore")

    max_body_bytes: int = Field(default=512 * 1024, ge=1024, le=LARGEST_BODY_BYTES)
    max_items_per_batch: int = Field(default=1000, ge=1, le=10_000)
    max_reports_in_flight: int = Field(default=256, ge=1, description="Beyond it a pod is told 429")
    token_fresh_for: Duration = Field(
        default=timedelta(seconds=2),
        description="How long a token is believed without asking the database; bounds a revoke on another replica",
    )
    token_kept_for: Duration = Field(
        default=timedelta(minutes=10), description="How long it is believed while the database is away"
    )
    silent_after: Duration = Field(
        default=timedelta(seconds=15), description="A pod not heard for longer is silent; it speaks every 10 s"
    )
    silence_grace: Duration = Field(
        default=timedelta(seconds=45),
        description="After a start or an outage silence proves nothing for so long: pods wait up to 30 s to try again",
    )
    storing_workers: int = Field(default=64, ge=1, le=1024, description="Messages stored in one transaction at most")
    storing_patience: Duration = Field(
        default=timedelta(seconds=10), description="How long a batch waits for the database before it goes back"
    )
    loss_divergence_factor: float = Field(
        default=2.0, gt=1, description="A smoothed loss so many times its best is diverging"
    )
    loss_divergence_points: int = Field(default=20, ge=1, description="if it stays there for so many points")
    loss_non_finite_points: int = Field(default=2, ge=1, description="NaN or infinite so often in a row ends a job")

    def loss_rules(self) -> LossRules:
        """When a loss is in trouble."""
        return LossRules(self.loss_divergence_factor, self.loss_divergence_points, self.loss_non_finite_points)

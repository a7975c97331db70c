"""Settings of the metrics service, `STOKER_METRICS_*`."""

from datetime import timedelta
from typing import Annotated

from annotated_types import Ge, Gt
from pydantic import Field
from pydantic_settings import SettingsConfigDict

from stoker_metrics.keeping.schemas import Caps
from stoker_metrics.notifications.settings import NotificationSettings
from stoker_metrics.retention.service import RetentionRules
from stoker_metrics.storing.loss import LossRules
from stoker_shared.object_store.address import StoreSettings
from stoker_shared.settings import ServiceSettings

Duration = Annotated[timedelta, Gt(timedelta(0))]
# The broker may send a report again for 12 h; what was dropped must not come back.
Kept = Annotated[timedelta, Ge(timedelta(days=1))] | None

LARGEST_BODY_BYTES = 700 * 1024
"""A message of the broker holds 1 MB; a body may grow a little when it is written anew."""


class MetricsSettings(NotificationSettings, StoreSettings, ServiceSettings):
    """One object per process. Durations are ISO 8601 (`PT2S`) or seconds."""

    model_config = SettingsConfigDict(env_prefix="STOKER_METRICS_", extra="ignore")

    max_body_bytes: int = Field(default=512 * 1024, ge=1024, le=LARGEST_BODY_BYTES)
    max_items_per_batch: int = Field(default=1000, ge=1, le=10_000)
    max_reports_in_flight: int = Field(default=256, ge=1, description="Beyond it a pod is told 429")
    broker_slow_after: Duration = Field(
        default=timedelta(seconds=2), description="A report not acknowledged for longer: others are told 429"
    )
    token_list_every: Duration = Field(
        default=timedelta(seconds=30), description="How often all job tokens are read anew from the database"
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
    stores_reports: bool = Field(
        default=True, description="Whether this process stores what pods report; at least one of the replicas must"
    )
    storing_batch: int = Field(default=512, ge=1, le=1024, description="Messages stored in one transaction at most")
    storing_patience: Duration = Field(
        default=timedelta(seconds=10), description="How long a batch waits for the database before it goes back"
    )
    evidence_patience: Duration = Field(
        default=timedelta(seconds=5), description="How long a diagnosis waits for the last reports before it is put off"
    )
    loss_divergence_factor: float = Field(
        default=2.0, gt=1, description="A smoothed loss so many times its best is diverging"
    )
    loss_divergence_points: int = Field(default=20, ge=1, description="if it stays there for so many points")
    loss_non_finite_points: int = Field(default=2, ge=1, description="NaN or infinite so often in a row ends a job")
    max_points_per_job: int = Field(default=Caps().points, ge=1, description="Kept of a job; more is counted")
    max_log_lines_per_job: int = Field(default=Caps().lines, ge=1, description="as max_points_per_job")
    max_log_bytes_per_job: int = Field(default=Caps().log_bytes, ge=1, description="as max_points_per_job")
    max_alerts_per_job: int = Field(
        default=Caps().alerts, ge=1, description="Kept and told of a job, warnings and errors each"
    )

    pack_after: Duration = Field(
        default=timedelta(minutes=15), description="Lines of a running attempt stay rows for so long"
    )
    sweep_every: Duration = Field(default=timedelta(minutes=1), description="How often lines are packed and dropped")
    keep_points: Kept = Field(default=timedelta(days=90), description="after an attempt's end; charts stay")
    keep_charts: Kept = Field(default=None, description="after an attempt's end; none: for ever")
    keep_logs: Kept = Field(
        default=timedelta(days=180), description="lines after an attempt's end, alerts after they came; none: for ever"
    )

    def retention_rules(self) -> RetentionRules:
        """What is dropped when."""
        return RetentionRules(
            points=self.keep_points,
            charts=self.keep_charts,
            logs=self.keep_logs,
            deliveries=self.notify_kept_for,
        )

    def caps(self) -> Caps:
        """How much is kept of one job."""
        return Caps(
            points=self.max_points_per_job,
            lines=self.max_log_lines_per_job,
            log_bytes=self.max_log_bytes_per_job,
            alerts=self.max_alerts_per_job,
        )

    def loss_rules(self) -> LossRules:
        """When a loss is in trouble."""
        return LossRules(self.loss_divergence_factor, self.loss_divergence_points, self.loss_non_finite_points)

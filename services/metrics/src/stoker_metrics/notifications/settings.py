"""Settings of notifications; a part of those of the service, `STOKER_METRICS_*`."""

from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Ge, Gt
from pydantic import BeforeValidator, Field, SecretStr, model_validator
from pydantic_settings import BaseSettings

from stoker_metrics.notifications.addresses import AddressRules, Network
from stoker_metrics.notifications.deliveries.sending import SenderRules
from stoker_metrics.notifications.mail import MailRules
from stoker_metrics.notifications.reaching import ReachRules
from stoker_metrics.notifications.retrying import SCHEDULE, RetryRules

Duration = Annotated[timedelta, Gt(timedelta(0))]
# The cap on alerts counts what the log of the last hour has.
KeptDeliveries = Annotated[timedelta, Ge(timedelta(days=1))]


def _networks(value: object) -> object:
    if not isinstance(value, list | tuple):
        return value
    return tuple(ip_network(item) if isinstance(item, str) else item for item in value)


Networks = Annotated[tuple[Network, ...], BeforeValidator(_networks)]


class NotificationSettings(BaseSettings):
    """Durations are ISO 8601 or seconds, lists JSON."""

    sealing_key_file: Path | None = Field(default=None, description="Keys for addresses and secrets of targets")
    api_public_url: str | None = Field(default=None, pattern=r"^https?://", description="For links in notifications")
    webhook_allow_http: bool = Field(default=False, description="Also http://; for tests and networks of one's own")
    webhook_allowed_networks: Networks = Field(default=(), description="Webhooks may go there though it is not public")
    webhook_refused_networks: Networks = Field(
        default=(), description="Webhooks never go there; for example the prefix of a NAT64 of one's own"
    )
    webhook_ca_file: Path | None = Field(default=None, description="More authorities that webhooks trust")
    webhook_timeout: Duration = Field(default=timedelta(seconds=20), description="For one attempt, all of it")
    notify_retry_schedule: tuple[Duration, ...] = Field(default=SCHEDULE, description="Pauses after failed attempts")
    notify_pause_after: int = Field(default=15, ge=1, description="Failures in a row that pause a target")
    notify_pause_span: timedelta = Field(default=timedelta(hours=12), description="over at least so long")
    notify_late_after: Duration = Field(
        default=timedelta(hours=1), description="An event that is older when it is first seen is not sent by itself"
    )
    notify_order_patience: Duration = Field(
        default=timedelta(minutes=10), description="So long a job's later news wait for an earlier one"
    )
    notify_lease: Duration = Field(default=timedelta(seconds=60), description="Longer than an attempt may take")
    notify_at_once: int = Field(default=32, ge=1, le=1000, description="Attempts under way in one process")
    notify_clock_every: Duration = Field(
        default=timedelta(seconds=15), description="How often budgets and waiting jobs are looked at"
    )
    notify_alerts_per_hour: int = Field(
        default=20, ge=1, description="Alerts of one job to one target within an hour; more are counted and held back"
    )
    notify_kept_for: KeptDeliveries = Field(
        default=timedelta(days=30), description="Finished deliveries, and those that wait for a paused target"
    )
    smtp_host: str | None = Field(default=None, min_length=1, description="Without it no e-mail is sent")
    smtp_port: int = Field(default=587, ge=1, le=65_535)
    smtp_security: Literal["none", "starttls", "tls"] = "starttls"
    smtp_user: str | None = None
    smtp_password: SecretStr | None = None
    smtp_sender: str = "stoker@localhost"
    smtp_domains: tuple[str, ...] = Field(default=(), description="E-mail goes only there; empty: anywhere")

    @model_validator(mode="after")
    def _lease_outlives_an_attempt(self) -> "NotificationSettings":
        if self.notify_lease <= self.webhook_timeout:
            raise ValueError("notify_lease must be longer than webhook_timeout")
        return self

    def reach_rules(self) -> ReachRules:
        """Where webhooks may go."""
        return ReachRules(
            addresses=AddressRules(self.webhook_allowed_networks, self.webhook_refused_networks),
            allows_http=self.webhook_allow_http,
            timeout=self.webhook_timeout,
            ca_file=self.webhook_ca_file,
        )

    def sender_rules(self) -> SenderRules:
        """How the sender paces itself."""
        return SenderRules(
            retry=RetryRules(self.notify_retry_schedule, self.notify_pause_after, self.notify_pause_span),
            lease=self.notify_lease,
            at_once=self.notify_at_once,
            order_patience=self.notify_order_patience,
        )

    def mail_rules(self) -> MailRules | None:
        """The operator's mail server, if there is one."""
        if self.smtp_host is None:
            return None
        return MailRules(
            host=self.smtp_host,
            port=self.smtp_port,
            sender=self.smtp_sender,
            security=self.smtp_security,
            user=self.smtp_user,
            password=self.smtp_password,
            domains=tuple(domain.lower() for domain in self.smtp_domains),
            timeout=self.webhook_timeout,
        )

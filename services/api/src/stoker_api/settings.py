"""`STOKER_API_*`."""

from datetime import timedelta
from typing import Annotated

from pydantic import Field, StringConstraints
from pydantic_settings import SettingsConfigDict

from stoker_shared.money import ONE_USD, NonNegativeMicroUsd
from stoker_shared.settings import ServiceSettings

_HttpUrl = Annotated[str, StringConstraints(pattern=r"^https?://")]


class ApiSettings(ServiceSettings):
    """What the api needs beside the settings of every service."""

    model_config = SettingsConfigDict(env_prefix="STOKER_API_", extra="ignore")

    # The key of the first user, as its SHA-256; the key itself is known only to whoever made it.
    bootstrap_key_sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")] | None = None

    # How long a start waits for servers that do not answer yet, before the process ends with the reason.
    start_patience: timedelta = Field(default=timedelta(seconds=60), gt=timedelta())

    # What machines at a provider use. None: taken to be on the host of `public_url`.
    gateway_public_url: _HttpUrl | None = None
    metrics_public_url: _HttpUrl | None = None

    # How long a plan may be launched.
    plan_lifetime: timedelta = Field(default=timedelta(hours=1), gt=timedelta())
    # How long gathered facts count as fresh; a launch after that asks for dataset and price again.
    facts_lifetime: timedelta = Field(default=timedelta(seconds=30), ge=timedelta())
    # How long a plan waits for the tokens of the rows to be counted; after that they are estimated.
    token_count_patience: timedelta = Field(default=timedelta(seconds=10), gt=timedelta())
    # The least that a budget must pay for, at the price of the offer.
    minimum_reservation: timedelta = Field(default=timedelta(minutes=1), ge=timedelta())
    # A plan without a budget gets its forecast with a margin, but never less than this.
    default_budget_floor_micro_usd: NonNegativeMicroUsd = ONE_USD
    default_max_attempts: int = Field(default=3, ge=1, le=20)
    default_max_duration: timedelta = Field(default=timedelta(days=1), gt=timedelta())

    event_heartbeat: timedelta = Field(default=timedelta(seconds=15), gt=timedelta())
    # How long a stream waits for an event that was overtaken by a later one.
    event_gap_patience: timedelta = Field(default=timedelta(seconds=5), ge=timedelta())
    # Telemetry that a slow client may be behind before the oldest is dropped.
    event_queue_size: int = Field(default=256, ge=1)
    max_event_streams: int = Field(default=1000, ge=1)

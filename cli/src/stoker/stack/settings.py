"""Settings of the embedded stack, read from `STOKER_STACK_*` and the options of `stoker up`."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

UserPort = Annotated[int, Field(ge=1024, le=65_535)]


class StackSettings(BaseSettings):
    """One stack. Everything has a default; only the data folder tells two stacks apart."""

    model_config = SettingsConfigDict(env_prefix="STOKER_STACK_", extra="ignore")

    data_dir: Path = Path("~/.stoker")
    # None: the one used last time, else a free one.
    port: UserPort | None = None
    min_free_disk_bytes: int = Field(default=2**30, ge=0)
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_rotate_bytes: int = Field(default=16 * 2**20, ge=1024)
    ready_timeout: timedelta = Field(default=timedelta(seconds=120), gt=timedelta())
    step_timeout: timedelta = Field(default=timedelta(minutes=3), gt=timedelta())
    # Machines of the training server get this long to save a checkpoint.
    machine_stop_timeout: timedelta = Field(default=timedelta(seconds=60), ge=timedelta())
    # What pods on other machines use. None: the loopback address, good for the local provider only.
    api_public_url: str | None = Field(default=None, pattern=r"^https?://")
    gateway_public_url: str | None = Field(default=None, pattern=r"^https?://")
    metrics_public_url: str | None = Field(default=None, pattern=r"^https?://")
    # Where all services send their spans, by OTLP over HTTP: http://host:4318.
    otlp_endpoint: str | None = Field(default=None, pattern=r"^https?://")
    # Whom PostgreSQL runs as when the stack is started by root. None: the first of embedded_postgres, postgres, nobody.
    postgres_system_user: str | None = None

"""Settings of the training server, all from STOKER_TRAINING_SERVER_* variables."""

import os
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict


class Settings(BaseSettings):
    """Read once at start. Prices in micro-USD per machine and hour, sizes in bytes."""

    model_config = SettingsConfigDict(env_prefix="STOKER_TRAINING_SERVER_", hide_input_in_errors=True)

    host: str = "127.0.0.1"
    port: int = Field(default=8790, ge=0, le=65_535)
    api_key: SecretStr = Field(min_length=16)
    data_dir: Path
    price_micro_usd_per_hour: int = Field(default=120_000, ge=0)
    cpu_slots: int = Field(default=1, ge=0, le=256, description="jobs on the CPU at a time; 0 takes none")
    model_roots: Annotated[list[Path], NoDecode] = Field(
        default=[], description="folders, separated like PATH, in which relative model names are looked for"
    )
    terminate_grace: timedelta = Field(
        default=timedelta(seconds=20), description="between SIGTERM and SIGKILL; seconds or ISO 8601"
    )
    minimum_free_bytes: int = Field(default=256 << 20, ge=0, description="with less free disk no machine is taken")
    poll_every: timedelta = timedelta(milliseconds=200)

    @field_validator("model_roots", mode="before")
    @classmethod
    def _split_paths(cls, value: Any) -> Any:
        return [part for part in value.split(os.pathsep) if part] if isinstance(value, str) else value

    @field_validator("terminate_grace", "poll_every", mode="before")
    @classmethod
    def _plain_seconds(cls, value: Any) -> Any:
        try:
            return float(value) if isinstance(value, str) else value
        except ValueError:
            return value

    @field_validator("terminate_grace", "poll_every")
    @classmethod
    def _positive(cls, value: timedelta) -> timedelta:
        if value <= timedelta(0):
            raise ValueError("must be longer than 0")
        return value

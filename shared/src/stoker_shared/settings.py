"""Base of every process's settings: read once in `main`, passed down."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from stoker_shared.errors import ConfigurationInvalid

SettingsT = TypeVar("SettingsT", bound=BaseSettings)

Port = Annotated[int, Field(ge=1, le=65_535)]


class ServiceSettings(BaseSettings):
    """What every service needs. A subclass sets `env_prefix`, for example `STOKER_API_`."""

    model_config = SettingsConfigDict(extra="ignore")

    nats_url: str = Field(pattern=r"^(nats|tls)://")
    nats_seed_file: Path
    database_url: SecretStr
    host: str = "127.0.0.1"
    port: Port
    public_url: str = Field(pattern=r"^https?://")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    database_pool_size: int = Field(default=8, ge=1, le=100)
    # Where spans go, by OTLP over HTTP: http://host:4318. Without it none are recorded.
    otlp_endpoint: str | None = Field(default=None, pattern=r"^https?://")
    # What Prometheus sends as its bearer token. Without it there is no /metrics.
    prometheus_token: SecretStr | None = Field(default=None, min_length=16)


def read_settings(settings: type[SettingsT], environment: Mapping[str, str] | None = None) -> SettingsT:
    """Read settings from the environment.

    Raises:
        ConfigurationInvalid: names each variable that is missing or absurd, never its value.
    """
    try:
        return settings(**(_from_mapping(settings, environment) if environment is not None else {}))
    except ValidationError as error:
        faults = {
            _variable(settings, "_".join(str(part) for part in fault["loc"])): fault["msg"] for fault in error.errors()
        }
        listed = "; ".join(f"{name}: {message}" for name, message in faults.items())
        raise ConfigurationInvalid(
            f"Settings cannot be used: {listed}.",
            next_step="Set these environment variables and start again.",
            fields=faults,
        ) from None  # the original carries the values, which may be secrets
    except SettingsError as error:  # a list or an object that is not JSON; the words name the field, never the value
        named = re.search(r'field "(\w+)"', str(error))
        variable = _variable(settings, named.group(1)) if named else str(error)
        raise ConfigurationInvalid(
            f"Settings cannot be used: {variable}: not JSON.",
            next_step="Write lists and objects in environment variables as JSON.",
            fields={variable: "not JSON"},
        ) from None


def _from_mapping(settings: type[BaseSettings], environment: Mapping[str, str]) -> dict[str, Any]:
    return {
        name: environment[key] for name in settings.model_fields if (key := _variable(settings, name)) in environment
    }


def _variable(settings: type[BaseSettings], field: str) -> str:
    return f"{settings.model_config.get('env_prefix', '')}{field}".upper()

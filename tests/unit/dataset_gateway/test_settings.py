"""Settings of the gateway."""

from datetime import timedelta

import pytest

from stoker_dataset_gateway.settings import Settings
from stoker_shared.errors import ConfigurationInvalid
from stoker_shared.settings import read_settings

PREFIX = "STOKER_DATASET_GATEWAY_"
NEEDED = {
    "NATS_URL": "nats://127.0.0.1:4222",
    "NATS_SEED_FILE": "seed",
    "DATABASE_URL": "postgresql+asyncpg://u:p@h/d",
    "PORT": "8003",
    "PUBLIC_URL": "https://data.example",
    "S3_ENDPOINT": "127.0.0.1:9000",
    "S3_ACCESS_KEY": "key",
    "S3_SECRET_KEY": "very secret",
}


def environment(**changes: str) -> dict[str, str]:
    """All that is needed, with changes."""
    return {f"{PREFIX}{name}": value for name, value in {**NEEDED, **changes}.items()}


def test_the_defaults_are_those_that_the_product_promises() -> None:
    settings = read_settings(Settings, environment())
    assert settings.max_upload_bytes == 20_000_000_000
    assert settings.download_lifetime == timedelta(hours=2)
    assert settings.keep_expired == timedelta(hours=24)
    assert "very secret" not in repr(settings)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("S3_ENDPOINT", "http://127.0.0.1:9000"),
        ("S3_BUCKET", "NOT A BUCKET"),
        ("DOWNLOAD_LIFETIME", "PT0S"),
        ("DOWNLOAD_LIFETIME", "soon"),
        ("MAX_UPLOAD_BYTES", "0"),
        ("PUBLIC_URL", "data.example"),
        ("REDIRECT_ENDPOINT", "127.0.0.1:9000"),
        ("TOKEN_BURST", "0"),
        ("LONGEST_WAIT", "PT0S"),
    ],
)
def test_an_absurd_value_stops_the_start_with_the_name_of_the_variable(name: str, value: str) -> None:
    with pytest.raises(ConfigurationInvalid) as invalid:
        read_settings(Settings, environment(**{name: value}))
    assert f"{PREFIX}{name}" in str(invalid.value)

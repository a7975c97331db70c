"""Settings stop the start instead of surprising later."""

from datetime import timedelta

import pytest

from stoker_deployer.jobs.policy import Policy
from stoker_deployer.providers.configured import configured_providers
from stoker_deployer.settings import DeployerSettings
from stoker_shared.errors import ConfigurationInvalid
from stoker_shared.settings import read_settings

COMPLETE = {
    "STOKER_DEPLOYER_NATS_URL": "nats://127.0.0.1:4222",
    "STOKER_DEPLOYER_NATS_SEED_FILE": "deployer.seed",
    "STOKER_DEPLOYER_DATABASE_URL": "postgresql+asyncpg://stoker_deployer:hidden@127.0.0.1/stoker",
    "STOKER_DEPLOYER_PORT": "8090",
    "STOKER_DEPLOYER_PUBLIC_URL": "http://127.0.0.1:8090",
    "STOKER_DEPLOYER_METRICS_PUBLIC_URL": "http://127.0.0.1:8091",
    "STOKER_DEPLOYER_GATEWAY_PUBLIC_URL": "http://127.0.0.1:8092",
    "STOKER_DEPLOYER_LOCAL_URL": "http://127.0.0.1:8093",
    "STOKER_DEPLOYER_LOCAL_API_KEY": "hidden",
}


def _read(**changes: str | None) -> DeployerSettings:
    changed = {f"STOKER_DEPLOYER_{name}": value for name, value in changes.items()}
    merged = {**COMPLETE, **changed}
    return read_settings(DeployerSettings, {name: value for name, value in merged.items() if value is not None})


@pytest.mark.parametrize(("text", "seconds"), [("45", 45), ("0.5", 0.5), ("PT2M", 120)])
def test_durations_are_seconds_or_iso_8601(text: str, seconds: float) -> None:
    assert _read(HEARTBEAT_TIMEOUT=text).heartbeat_timeout == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "changes",
    [
        {"LEASE": "0"},
        {"LEASE": "-5"},
        {"LEASE": "soon"},
        {"METRICS_PUBLIC_URL": None},
        {"METRICS_PUBLIC_URL": "metrics"},
        {"MAX_ACTIVE_JOBS": "0"},
        {"WORKERS": "many"},
        {"PORT": "0"},
    ],
    ids=str,
)
def test_what_is_missing_or_absurd_stops_the_start_with_its_name(changes: dict[str, str | None]) -> None:
    with pytest.raises(ConfigurationInvalid) as refused:
        _read(**changes)
    assert f"STOKER_DEPLOYER_{next(iter(changes))}" in str(refused.value)
    assert "hidden" not in str(refused.value)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"LOCAL_API_KEY": None}, "LOCAL_API_KEY"),
        ({"LOCAL_URL": None}, "LOCAL_URL"),
        ({"LEASE": "10"}, "LEASE"),
    ],
)
def test_settings_must_hang_together(changes: dict[str, str | None], named: str) -> None:
    with pytest.raises(ConfigurationInvalid) as refused:
        _read(**changes)
    assert named in str(refused.value)
    assert "hidden" not in str(refused.value)


async def test_a_provider_exists_if_it_is_configured() -> None:
    assert list(configured_providers(_read())) == ["local"]
    assert configured_providers(_read(LOCAL_URL=None, LOCAL_API_KEY=None)) == {}


def test_the_policy_is_taken_from_the_settings() -> None:
    policy = _read(ABSENCE_PAUSE="3").policy()
    assert isinstance(policy, Policy)
    assert policy.absence_pause == timedelta(seconds=3)


def test_the_key_is_not_shown() -> None:
    assert "hidden" not in repr(_read())

"""Settings stop the start instead of surprising later."""

from datetime import timedelta

import pytest

from stoker_deployer.jobs.policy import Policy
from stoker_deployer.providers.configured import configured_providers
from stoker_deployer.settings import DeployerSettings
from stoker_shared.clock import SystemClock
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
    for changes, expected in [
        ({}, ["local"]),
        ({"LOCAL_URL": None, "LOCAL_API_KEY": None}, []),
        ({"RUNPOD_API_KEY": "rpa_OPERATORS"}, ["local", "runpod"]),
    ]:
        found = configured_providers(_read(**changes), clock=SystemClock())
        assert list(found.operators) == expected
        assert list(found.factories) == ["runpod"]
        await found.close()
        assert found.connections
        assert all(client.is_closed for client in found.connections)


def test_the_policy_is_taken_from_the_settings() -> None:
    policy = _read(ABSENCE_PAUSE="3").policy()
    assert isinstance(policy, Policy)
    assert policy.absence_pause == timedelta(seconds=3)


def test_the_key_is_not_shown() -> None:
    assert "hidden" not in repr(_read())


def test_what_is_set_of_runpod_reaches_it() -> None:
    runpod = _read(
        RUNPOD_URL="http://127.0.0.1:9/v2",
        RUNPOD_CLOUDS='["community"]',
        RUNPOD_DATA_CENTRES='["EU-RO-1", "EU-CZ-1"]',
        RUNPOD_MIN_CUDA="13.0",
        RUNPOD_BILL_SETTLES_AFTER="2",
    ).runpod()
    assert (runpod.url, runpod.clouds) == ("http://127.0.0.1:9/v2", ("community",))
    assert runpod.data_centres == ("EU-RO-1", "EU-CZ-1")
    assert (runpod.min_cuda, runpod.bill_settles_after) == ("13.0", timedelta(seconds=2))


def test_a_launch_at_runpod_ends_before_the_lease_of_a_silent_claim() -> None:
    assert _read(LEASE="30").runpod().launch_timeout == timedelta(seconds=20)
    assert _read(LEASE="300").runpod().launch_timeout == timedelta(seconds=60)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("RUNPOD_URL", "api.runpod.io"),
        ("RUNPOD_CLOUDS", '["spot"]'),
        ("RUNPOD_CLOUDS", "[]"),
        ("RUNPOD_MIN_CUDA", "newest"),
        ("RUNPOD_VOLUME_GB", "5"),
    ],
)
def test_what_is_absurd_of_runpod_stops_the_start_with_its_name(name: str, value: str) -> None:
    with pytest.raises(ConfigurationInvalid) as refused:
        _read(**{name: value})
    assert f"STOKER_DEPLOYER_{name}" in str(refused.value)


def test_a_key_for_runpod_is_not_shown() -> None:
    assert "rpa_hidden" not in repr(_read(RUNPOD_API_KEY="rpa_hidden"))

"""Settings: a start with a missing or absurd value ends with the names of the variables, never with a value."""

import traceback

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field
from pydantic_settings import SettingsConfigDict

from stoker_shared.errors import ConfigurationInvalid
from stoker_shared.settings import ServiceSettings, read_settings


class Settings(ServiceSettings):
    model_config = SettingsConfigDict(env_prefix="STOKER_TEST_", extra="ignore")

    places: list[str] = Field(default_factory=list)


GOOD = {
    "STOKER_TEST_NATS_URL": "nats://127.0.0.1:4222",
    "STOKER_TEST_NATS_SEED_FILE": "api.seed",
    "STOKER_TEST_DATABASE_URL": "postgresql+asyncpg://stoker_api:geheim@127.0.0.1/stoker",
    "STOKER_TEST_PORT": "8080",
    "STOKER_TEST_PUBLIC_URL": "http://127.0.0.1:8080",
}


def test_good_settings_are_read() -> None:
    settings = read_settings(Settings, GOOD)
    assert (settings.port, settings.log_level, settings.host) == (8080, "INFO", "127.0.0.1")


def test_settings_are_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**GOOD, "STOKER_TEST_PLACES": '["here"]'}.items():
        monkeypatch.setenv(name, value)
    assert read_settings(Settings).places == ["here"]


def test_settings_do_not_show_their_secrets() -> None:
    settings = read_settings(Settings, GOOD)
    assert "geheim" not in f"{settings} {settings!r} {settings.model_dump()}"


@pytest.mark.parametrize("missing", GOOD)
def test_a_missing_variable_is_named(missing: str) -> None:
    with pytest.raises(ConfigurationInvalid) as caught:
        read_settings(Settings, {name: value for name, value in GOOD.items() if name != missing})
    assert list(caught.value.fields) == [missing]
    assert f"{missing}: " in str(caught.value)


@pytest.mark.parametrize(
    ("name", "absurd"),
    [
        ("STOKER_TEST_NATS_URL", "http-geheim"),
        ("STOKER_TEST_PORT", "70000"),
        ("STOKER_TEST_PORT", "geheim"),
        ("STOKER_TEST_PUBLIC_URL", "geheim.example"),
        ("STOKER_TEST_LOG_LEVEL", "LOUD-geheim"),
        ("STOKER_TEST_DATABASE_POOL_SIZE", "0"),
    ],
)
def test_an_absurd_variable_is_named_without_its_value(name: str, absurd: str) -> None:
    with pytest.raises(ConfigurationInvalid) as caught:
        read_settings(Settings, {**GOOD, name: absurd})
    assert list(caught.value.fields) == [name]
    assert "geheim" not in str(caught.value)


def test_a_list_that_is_not_json_is_named_without_its_value(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**GOOD, "STOKER_TEST_PLACES": "geheim"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationInvalid) as caught:
        read_settings(Settings)
    assert list(caught.value.fields) == ["STOKER_TEST_PLACES"]
    assert "geheim" not in str(caught.value)


@given(st.sampled_from(sorted(GOOD)), st.text(min_size=12).filter(lambda text: text.isprintable()))
def test_no_value_is_ever_shown_and_no_cause_carries_it(name: str, value: str) -> None:
    said = complaint_about({**GOOD, name: value})
    # What is said of any other value, too, is none that was shown: a pattern, the name of a file.
    assert value not in said or value in complaint_about({**GOOD, name: "another absurd value"})


def complaint_about(environment: dict[str, str]) -> str:
    """All that a log would show of the refusal; nothing if the settings are good."""
    try:
        read_settings(Settings, environment)
    except ConfigurationInvalid as error:
        return "".join(traceback.format_exception(error))
    return ""

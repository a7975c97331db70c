"""What requests may hold."""

from typing import Any

import pytest
from pydantic import ValidationError

from stoker_api.accounts.service import key_hash_of
from stoker_api.deploy.schemas import DeployRequest
from stoker_api.settings import ApiSettings
from stoker_shared.errors import ConfigurationInvalid, Unauthorised
from stoker_shared.pod_variables import RESERVED_VARIABLES
from stoker_shared.settings import read_settings
from stoker_shared.tokens import token_hash
from tests.unit.api.examples import DATASET_ID, a_new_plan, a_recipe

GOOD_KEY = "stk_" + "A" * 43
SETTINGS = {
    "STOKER_API_NATS_URL": "nats://127.0.0.1:4222",
    "STOKER_API_NATS_SEED_FILE": "api.nk",
    "STOKER_API_DATABASE_URL": "postgresql+asyncpg://x:secret@127.0.0.1/stoker",
    "STOKER_API_PORT": "8000",
    "STOKER_API_PUBLIC_URL": "http://127.0.0.1:8000",
}


@pytest.mark.parametrize(
    "environment",
    [
        {"JOB_TOKEN": "x"},
        {"1X": "x"},
        {"A-B": "x"},
        {"A\n": "x"},
        {"": "x"},
        {"A": "\0"},
        {"A": "x" * 70_000},
        {f"V{number}": "x" for number in range(51)},
    ],
)
def test_an_environment_that_could_do_harm_is_refused(environment: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        a_new_plan(environment=environment)


@pytest.mark.parametrize("name", [*sorted(RESERVED_VARIABLES), "RUNPOD_API_KEY", "STOKER_POD_ROOT"])
def test_every_reserved_variable_is_refused(name: str) -> None:
    with pytest.raises(ValidationError, match=name):
        a_new_plan(environment={name: "x"})


def test_a_mirror_of_the_hub_is_the_users_choice() -> None:
    assert a_new_plan(environment={"HF_ENDPOINT": "https://hub.test"}).environment


def test_a_plan_takes_a_recipe_or_a_recipe_id_but_not_both_or_none() -> None:
    with pytest.raises(ValidationError, match="either recipe or recipe_id"):
        a_new_plan(recipe_id="rcp-0000000000000001")
    with pytest.raises(ValidationError, match="either recipe or recipe_id"):
        a_new_plan(recipe=None)
    assert a_new_plan(recipe=None, recipe_id="rcp-0000000000000001").recipe is None


@pytest.mark.parametrize("budget", ["12.50", 12.5, 12])
def test_a_budget_limit_may_be_text_or_a_number(budget: Any) -> None:
    body = {"training_config_id": "rcp-0000000000000001", "dataset_version_id": DATASET_ID, "budget_limit": budget}
    plan = DeployRequest.model_validate(body).plan_for("local")
    assert plan.budget_usd is not None
    assert float(plan.budget_usd) == float(budget)


@pytest.mark.parametrize("budget", ["0", "-1", "NaN", "Infinity", "a lot", "1e9"])
def test_an_absurd_budget_is_refused(budget: str) -> None:
    with pytest.raises(ValidationError):
        a_new_plan(budget_usd=budget, recipe=a_recipe().model_dump())


@pytest.mark.parametrize("key", ["", "stk_short", "sk_" + "A" * 43, GOOD_KEY + "!", GOOD_KEY + "\n"])
def test_what_can_be_no_key_is_refused_without_a_look_at_the_database(key: str) -> None:
    with pytest.raises(Unauthorised):
        key_hash_of(key)


def test_a_key_is_known_by_its_sha256() -> None:
    assert key_hash_of(GOOD_KEY) == token_hash(GOOD_KEY)


def test_settings_have_defaults_for_all_but_where_things_are() -> None:
    settings = read_settings(ApiSettings, SETTINGS)
    assert settings.plan_lifetime.total_seconds() == 3600


@pytest.mark.parametrize(
    ("name", "value"),
    [("BOOTSTRAP_KEY_SHA256", "stk_plain_key"), ("PLAN_LIFETIME", "0"), ("GATEWAY_PUBLIC_URL", "ftp://x")],
)
def test_an_absurd_setting_stops_the_start_and_is_named_without_its_value(name: str, value: str) -> None:
    with pytest.raises(ConfigurationInvalid, match=f"STOKER_API_{name}") as caught:
        read_settings(ApiSettings, {**SETTINGS, f"STOKER_API_{name}": value})
    assert "secret" not in str(caught.value)
    assert "stk_plain_key" not in str(caught.value)

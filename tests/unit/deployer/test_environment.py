"""What a pod sees, and nothing else."""

import json
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr

from stoker_deployer.jobs.environment import PublicUrls, environment_faults, pod_environment
from stoker_shared.commands import LaunchJob
from stoker_shared.pod_variables import ATTEMPT_VARIABLES, CONTAINER_VARIABLES, RESERVED_VARIABLES
from stoker_shared.recipe import DataFormat, training_config
from stoker_shared.rpc.dataset_gateway import DownloadMinted
from tests.unit.deployer.rows import JOB, NOW, command

ARCHITECTURE = Path(__file__).parents[3] / "docs" / "architecture.md"
MINTED = DownloadMinted(
    download_url="http://gateway.test/v1/datasets/download?token=abc",
    sha256="a" * 64,
    size_bytes=10,
    filename="rows.jsonl",
    data_format=DataFormat.MESSAGES,
    expires_at=NOW + timedelta(hours=2),
)
URLS = PublicUrls(metrics="http://metrics.test/", gateway="http://gateway.test")


def _environment(launch: LaunchJob | None = None) -> dict[str, str]:
    return pod_environment(launch or command(), attempt=2, token=SecretStr("the-token"), minted=MINTED, urls=URLS)


def _documented() -> list[set[str]]:
    """The lists of names of that section, in order."""
    section = ARCHITECTURE.read_text().split("## What a pod sees")[1].split("## ")[0]
    return [{name.strip() for name in listed.split(",")} for listed in section.split("`")[1::2]]


def test_a_pod_sees_exactly_what_is_documented() -> None:
    everywhere, in_containers = _documented()[:2]
    assert set(_environment()) == everywhere == ATTEMPT_VARIABLES
    assert in_containers == CONTAINER_VARIABLES


def test_the_users_variables_are_added_and_nothing_else() -> None:
    seen = _environment(command(environment={"HF_TOKEN": "theirs", "WANDB_MODE": "offline"}))
    assert set(seen) - RESERVED_VARIABLES == {"HF_TOKEN", "WANDB_MODE"}
    assert seen["HF_TOKEN"] == "theirs"


def test_values_are_those_of_the_attempt() -> None:
    seen = _environment()
    assert seen["JOB_ID"] == JOB
    assert seen["JOB_TOKEN"] == "the-token"
    assert seen["JOB_ATTEMPT"] == "2"
    assert seen["METRICS_API_URL"] == f"http://metrics.test/v1/jobs/{JOB}/metrics"
    assert seen["ALERT_API_URL"] == f"http://metrics.test/v1/jobs/{JOB}/alerts"
    assert seen["ARTIFACTS_API_URL"] == f"http://gateway.test/v1/jobs/{JOB}/artifacts"
    assert (seen["DATASET_URL"], seen["DATASET_SHA256"]) == (MINTED.download_url, MINTED.sha256)
    launch = command()
    assert json.loads(seen["TRAINING_CONFIG"]) == training_config(launch.recipe, data_format=launch.data_format)
    assert all(isinstance(value, str) for value in seen.values())


@pytest.mark.parametrize("name", [*sorted(RESERVED_VARIABLES), "RUNPOD_API_KEY", "STOKER_POD_ROOT"])
def test_our_names_cannot_be_taken(name: str) -> None:
    assert name in environment_faults({name: "mine", "FINE": "yes"})


@pytest.mark.parametrize("name", ["", "1ST", "WITH SPACE", "A=B", "DASH-ED", "NEW\nLINE"])
def test_what_is_no_name_is_refused(name: str) -> None:
    assert "no names" in environment_faults({name: "value"})


def test_a_fault_does_not_show_values() -> None:
    assert "hidden" not in environment_faults({"JOB_TOKEN": "hidden", "A B": "hidden"})


def test_ordinary_variables_are_fine() -> None:
    assert environment_faults({"HF_TOKEN": "x", "HF_ENDPOINT": "https://hub.test", "_private": "y", "lower": "z"}) == ""

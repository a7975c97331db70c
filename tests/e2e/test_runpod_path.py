"""A job on a rented pod, from upload to settled bill, through every service and a simulated RunPod. Looked at after."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from stoker.client import JobChanged
from stoker.client.models import Job
from stoker.stack.keys import load_or_make_keys
from stoker.stack.runpod_simulator import simulator_key
from stoker_shared.job_state import JobStatus
from stoker_shared.pod_variables import ATTEMPT_VARIABLES, CONTAINER_VARIABLES
from stoker_shared.rpc.metrics import Line
from tests.support.runpod_live import MODEL, RunpodLive, runpod_live
from tests.support.stored import stored_rows
from tests.support.waiting import wait_until

STEPS = 12
WITHIN_SECONDS = 300

pytestmark = pytest.mark.timeout(900)


@dataclass(frozen=True, slots=True)
class Done:
    """A job that is over and paid for, its pod, and what was told of both."""

    live: RunpodLive
    job: Job
    changes: tuple[JobChanged, ...]
    lines: tuple[Line, ...]
    pod: dict[str, Any]
    order: dict[str, Any]
    printed: tuple[str, ...]


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, rows: Path) -> Iterator[Done]:
    with runpod_live(tmp_path_factory.mktemp("runpod")) as live:
        client = live.stack.client
        plan = live.plan(client.upload_dataset(rows).dataset_version_id, steps=STEPS)
        assert plan.is_launchable, plan.blocking
        job_id = client.launch(plan).job_id
        changes = tuple(item for item in client.follow(job_id) if isinstance(item, JobChanged))
        wait_until(lambda: live.is_settled(client.job(job_id)), seconds=WITHIN_SECONDS)
        wait_until(lambda: not any(pod["processes"] for pod in live.pods(job_id)), seconds=WITHIN_SECONDS)
        pods = live.pods(job_id)
        assert len(pods) == 1, [(change.fact, change.job.reason, change.job.detail) for change in changes]
        pod = pods[0]
        order, printed = live.cloud.order(pod["id"]), tuple(live.cloud.lines(pod["id"]))
        yield Done(live, client.job(job_id), changes, tuple(client.logs(job_id)), pod, order, printed)


def test_it_completes_on_one_pod_and_nothing_of_that_is_left(done: Done) -> None:
    assert (done.job.status, done.job.reason, done.job.attempt) == ("completed", "success", 1), done.job.detail
    statuses = list(dict.fromkeys(JobStatus(change.job.status) for change in done.changes))
    assert statuses == sorted(statuses, key=list(JobStatus).index)
    assert done.pod["starts"] == 1
    assert done.pod["ended_at"]
    assert done.pod["processes"] == []


def test_it_costs_what_the_cloud_has_charged_to_the_micro_dollar(done: Done) -> None:
    (bill,) = done.job.bills
    assert done.job.spent_micro_usd == bill.billed_micro_usd == done.live.charged(done.job.job_id) > 0


def test_its_model_has_learnt_and_arrives_whole(done: Done, tmp_path: Path) -> None:
    client, job_id = done.live.stack.client, done.job.job_id
    for artifact in client.artifacts(job_id):
        file = client.download_artifact(artifact, tmp_path)
        assert hashlib.sha256(file.read_bytes()).hexdigest() == artifact.sha256
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["held_out"]["loss_after"] < metrics["held_out"]["loss_before"]
    assert [point.step for point in client.metrics(job_id) if "loss" in point.values] == list(range(1, STEPS + 1))


def test_what_its_pod_prints_is_told_from_the_first_line_on(done: Done) -> None:
    lines = done.lines
    assert [line.sequence for line in lines] == list(range(1, len(lines) + 1))
    stamped = [(datetime.fromisoformat(at), text) for at, text in map(_split, done.printed)]
    assert [(line.at, line.text) for line in lines] == stamped[: len(lines)]
    stages = [line.text.partition(":")[0] for line in lines if ": begins " in line.text]
    assert lines[0].text.startswith("system: begins ")
    assert stages == ["system", "checks", "bundle", "packages", "training"]


def test_its_pod_sees_what_is_documented_and_nothing_else(done: Done) -> None:
    environment = done.order["env"]
    assert set(environment) == ATTEMPT_VARIABLES | CONTAINER_VARIABLES | {"HF_ENDPOINT"}
    assert (environment["MODEL_NAME"], environment["JOB_ID"]) == (MODEL, done.job.job_id)


def test_no_key_of_ours_is_told_and_its_own_tokens_only_to_the_pod(done: Done) -> None:
    texts = _told(done)
    assert [
        (what, where) for what, key in _keys(done.live).items() for where, text in texts.items() if key in text
    ] == []
    environment = texts.pop("environment")
    tokens = (done.order["env"]["JOB_TOKEN"], done.order["env"]["DATASET_URL"].rpartition("=")[2])
    assert all(len(token) > 20 and token in environment for token in tokens)
    assert [where for where, text in texts.items() if any(token in text for token in tokens)] == []


def _split(printed: str) -> tuple[str, str]:
    """The time and the text of a line as a pod prints it."""
    at, _, text = printed.removeprefix("[").partition("] ")
    return at, text


def _told(done: Done) -> dict[str, str]:
    """All that was said to a pod or of it, by where it stands."""
    stack, job_id = done.live.stack, done.job.job_id
    texts = {
        "environment": json.dumps(done.order["env"]),
        "rest of the order": json.dumps({name: value for name, value in done.order.items() if name != "env"}),
        "output of the pod": "\n".join(done.live.cloud.lines(done.pod["id"], None)),
        "log": "\n".join(line.text for line in done.lines),
        "events": json.dumps([[change.fact, change.job.model_dump(mode="json")] for change in done.changes]),
        "stored events": "\n".join(stored_rows(stack, "api", "job_events", job_id)),
        "job": "\n".join(stored_rows(stack, "deployer", "jobs", job_id)),
        "attempts": "\n".join(stored_rows(stack, "deployer", "attempts", job_id)),
    }
    assert all(texts.values()), [where for where, text in texts.items() if not text]
    logs = {file.name: file.read_text(errors="replace") for file in stack.stack.layout.logs.glob("*.log")}
    assert {"api.log", "deployer.log", "metrics.log", "dataset-gateway.log"} <= set(logs)
    return texts | logs


def _keys(live: RunpodLive) -> dict[str, str]:
    """Every key of this installation, by what it opens."""
    layout = live.stack.stack.layout
    keys = load_or_make_keys(layout)
    found = {
        "account": simulator_key(layout),
        "user": keys.api_key.get_secret_value(),
        "store": keys.s3_secret_key.get_secret_value(),
        "store, by name": keys.s3_access_key.get_secret_value(),
        "training server": keys.training_server_key.get_secret_value(),
        "vault": layout.vault_key_file.read_text().strip(),
        **{f"database {role}": key.get_secret_value() for role, key in keys.postgres_passwords.items()},
        **{f"broker {name}": file.read_text().strip() for name, file in keys.nkey_seed_files.items()},
    }
    assert all(len(key) > 20 for key in found.values())
    return found

"""A job on a rented pod, from upload to settled bill, through every service and a simulated RunPod."""

import hashlib
import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

from stoker.client import JobChanged
from stoker.stack.keys import load_or_make_keys
from stoker.stack.runpod_simulator import simulator_key
from stoker_shared.job_state import JobStatus
from stoker_shared.pod_variables import ATTEMPT_VARIABLES, CONTAINER_VARIABLES
from tests.support.runpod_live import MODEL, RunpodLive, runpod_live
from tests.support.stored import stored_rows
from tests.support.waiting import wait_until

STEPS = 12
WITHIN_SECONDS = 300

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def runpod(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunpodLive]:
    with runpod_live(tmp_path_factory.mktemp("runpod")) as running:
        yield running


def test_a_job_is_trained_on_a_pod_that_is_gone_and_paid_to_the_micro_dollar(
    runpod: RunpodLive, rows: Path, tmp_path: Path
) -> None:
    client, cloud = runpod.stack.client, runpod.cloud
    plan = runpod.plan(client.upload_dataset(rows).dataset_version_id, steps=STEPS)
    assert plan.is_launchable, plan.blocking
    job_id = client.launch(plan).job_id
    changes = [item for item in client.follow(job_id) if isinstance(item, JobChanged)]
    wait_until(lambda: runpod.is_settled(client.job(job_id)), seconds=WITHIN_SECONDS)
    job = client.job(job_id)

    assert (job.status, job.reason, job.attempt) == ("completed", "success", 1), job.detail
    statuses = list(dict.fromkeys(change.job.status for change in changes))
    assert statuses == sorted(statuses, key=list(JobStatus).index)

    # One pod, which is gone, and nothing of it runs.
    (pod,) = runpod.pods(job_id)
    assert pod["ended_at"]
    wait_until(lambda: not runpod.pods(job_id)[0]["processes"], seconds=WITHIN_SECONDS)
    assert pod["starts"] == 1

    # What it cost is what the cloud charged.
    (bill,) = job.bills
    assert job.spent_micro_usd == bill.billed_micro_usd == runpod.charged(job_id) > 0

    # What it has learnt is here.
    for artifact in client.artifacts(job_id):
        file = client.download_artifact(artifact, tmp_path)
        assert hashlib.sha256(file.read_bytes()).hexdigest() == artifact.sha256
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["held_out"]["loss_after"] < metrics["held_out"]["loss_before"]
    assert [point.step for point in client.metrics(job_id) if "loss" in point.values] == list(range(1, STEPS + 1))

    # Its log is told from the first line on, in order, and early.
    lines, printed = list(client.logs(job_id)), cloud.lines(pod["id"])
    assert [line.sequence for line in lines] == list(range(1, len(lines) + 1))
    stamped = [(datetime.fromisoformat(at), text) for at, text in map(split_line, printed)]
    assert [(line.at, line.text) for line in lines] == stamped[: len(lines)]
    stages = [line.text.partition(":")[0] for line in lines if ": begins " in line.text]
    assert lines[0].text.startswith("system: begins ")
    assert stages == ["system", "checks", "bundle", "packages", "training"]

    # It saw what is documented; nobody saw a key of ours.
    order = cloud.order(pod["id"])
    assert set(order["env"]) == ATTEMPT_VARIABLES | CONTAINER_VARIABLES | {"HF_ENDPOINT"}
    assert order["env"]["MODEL_NAME"] == MODEL
    texts = {
        "order": json.dumps(order),
        "log of the pod": "\n".join([*printed, *cloud.lines(pod["id"], None)]),
        "lines": "\n".join(line.text for line in lines),
        "events": json.dumps([change.fact | {"job": change.job.model_dump(mode="json")} for change in changes]),
        "stored events": "\n".join(stored_rows(runpod.stack, "api", "job_events", job_id)),
        "jobs": "\n".join(stored_rows(runpod.stack, "deployer", "jobs", job_id)),
        "attempts": "\n".join(stored_rows(runpod.stack, "deployer", "attempts", job_id)),
    }
    assert all(texts.values()), [where for where, text in texts.items() if not text]
    logs = list(runpod.stack.stack.layout.logs.glob("*.log"))
    assert {"api.log", "deployer.log", "metrics.log", "dataset-gateway.log"} <= {file.name for file in logs}
    texts |= {file.name: file.read_text(errors="replace") for file in logs}
    shown = {(what, where) for what, key in keys_of(runpod).items() for where, text in texts.items() if key in text}
    assert shown == set()
    tokens = {name: order["env"][name] for name in ("JOB_TOKEN", "DATASET_URL")}
    tokens["DATASET_URL"] = tokens["DATASET_URL"].rpartition("=")[2]
    told = {
        (name, where) for name, token in tokens.items() for where in set(texts) - {"order"} if token in texts[where]
    }
    assert told == set()
    assert all(token not in order["args"] for token in tokens.values())


def split_line(printed: str) -> tuple[str, str]:
    """The time and the text of a line as a pod prints it."""
    at, _, text = printed.removeprefix("[").partition("] ")
    return at, text


def keys_of(runpod: RunpodLive) -> dict[str, str]:
    """Every key of this installation, by what it opens."""
    layout = runpod.stack.stack.layout
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

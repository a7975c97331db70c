"""From a file to a model through every service, on a real model trained from scratch."""

import hashlib
import json
from pathlib import Path

import httpx
import pytest

from stoker.client import Client, JobChanged, MetricsReported
from stoker.client.errors import DatasetRejected, InvalidRequest, NotSignedIn, PlanBlocked
from tests.support.live_stack import LiveStack, tiny_recipe
from tests.support.tiny_model import write_rows

STEPS = 30

pytestmark = pytest.mark.timeout(420)


def test_a_job_runs_from_upload_to_checked_artifacts(
    stack: LiveStack, tiny_model: Path, dataset: str, tmp_path: Path
) -> None:
    plan = stack.client.plan(dataset, recipe=tiny_recipe(tiny_model, steps=STEPS), budget_usd="1.00")
    job_id = stack.client.launch(plan).job_id
    news = list(stack.client.follow(job_id))

    statuses = [item.job.status for item in news if isinstance(item, JobChanged)]
    assert statuses[0] == "queued"
    assert statuses[-1] == "completed"
    assert statuses == sorted(statuses, key=ORDER.index), "a job never goes back without a failed attempt"
    points = [point for item in news if isinstance(item, MetricsReported) for point in item.points]
    assert [point.step for point in points if "loss" in point.values] == list(range(1, STEPS + 1))

    job = stack.client.job(job_id)
    assert (job.attempt, job.reason) == (1, "success")
    assert 0 < job.spent_micro_usd < 1_000_000
    assert job.billing_started_at is None
    for artifact in stack.client.artifacts(job_id):
        file = stack.client.download_artifact(artifact, tmp_path)
        assert hashlib.sha256(file.read_bytes()).hexdigest() == artifact.sha256
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["held_out"]["loss_after"] < metrics["held_out"]["loss_before"]
    receipt = json.loads((tmp_path / "receipt.json").read_text())
    assert receipt["dataset_sha256"] == stack.client.dataset(dataset).sha256
    assert [machine["state"] for machine in stack.machines(job_id)] == ["terminated"]
    assert any("held-out loss" in line.text for line in stack.client.logs(job_id))


ORDER = ("queued", "provisioning", "starting", "preparing", "training", "saving", "terminating", "completed")


def test_a_job_is_launched_in_one_call_and_cancelled(stack: LiveStack, tiny_model: Path, dataset: str) -> None:
    recipe = stack.client.save_recipe("one call", tiny_recipe(tiny_model, steps=5000))
    job_id = stack.client.deploy(
        "local",
        training_config_id=recipe.recipe_id,
        dataset_version_id=dataset,
        gpu_type="cpu",
        gpu_count=0,
        budget_limit="0.50",
    ).job.job_id
    statuses = []
    for item in stack.client.follow(job_id):
        if isinstance(item, JobChanged):
            statuses.append(item.job.status)
            if item.type == "machine_provisioned":
                stack.client.cancel(job_id)
    assert statuses[-2:] == ["terminating", "cancelled"]
    assert [machine["state"] for machine in stack.machines(job_id)] == ["terminated"]


def test_rows_that_cannot_be_trained_on_are_named_by_line(stack: LiveStack, tmp_path: Path) -> None:
    rows = [{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}] * 3
    file = write_rows(tmp_path / "bad.jsonl", [*rows, {"question": "a", "answer": "b"}])
    with pytest.raises(DatasetRejected) as rejected:
        stack.client.upload_dataset(file)
    assert [fault.line for fault in rejected.value.faults] == [4]


def test_an_empty_dataset_is_refused_with_words(stack: LiveStack, tmp_path: Path) -> None:
    file = tmp_path / "empty.jsonl"
    file.touch()
    with pytest.raises((DatasetRejected, InvalidRequest), match=r"(?i)empty|no rows"):
        stack.client.upload_dataset(file)


def test_an_unknown_model_blocks_the_plan(stack: LiveStack, dataset: str) -> None:
    plan = stack.client.plan(dataset, recipe=tiny_recipe(Path("/no/such/model"), steps=1))
    assert not plan.is_launchable
    assert [fault.code for fault in plan.blocking] == ["model_not_found"]
    with pytest.raises(PlanBlocked):
        stack.client.launch(plan)


def test_without_a_key_or_with_a_wrong_one_nothing_is_answered(stack: LiveStack) -> None:
    url = stack.stack.urls["api"]
    assert httpx.get(f"{url}/v1/jobs", timeout=10).status_code == 401
    with Client(url=url, api_key="stk_" + "x" * 43) as stranger, pytest.raises(NotSignedIn):
        stranger.jobs()

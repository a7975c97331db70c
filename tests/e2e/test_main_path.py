"""From a file to a model through every service, on a real model trained from scratch: by commands and by client."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from transformers import AutoTokenizer

from stoker.client import Client, JobChanged, LogWritten, MetricsReported
from stoker.client.errors import Conflicting, DatasetRejected, InvalidRequest, NotSignedIn, PlanBlocked
from tests.support.live_stack import LiveStack, tiny_recipe
from tests.support.tiny_model import write_rows

STEPS = 30
ORDER = ("queued", "provisioning", "starting", "preparing", "training", "saving", "terminating", "completed")

pytestmark = pytest.mark.timeout(420)


def stoker(stack: LiveStack, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    environment = {name: os.environ[name] for name in ("PATH", "HOME")} | {"STOKER_DATA": str(stack.folder)}
    command = [sys.executable, "-m", "stoker.main", *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=400, check=False)


def test_from_a_file_to_checked_artifacts_by_commands(
    stack: LiveStack, tiny_model: Path, rows: Path, tmp_path: Path
) -> None:
    added = stoker(stack, "data", "add", rows, "--json")
    dataset = json.loads(added.stdout)
    assert dataset["statistics"]["rows"] == 80, added.stderr

    recipe = tmp_path / "recipe.json"
    recipe.write_text(tiny_recipe(tiny_model, steps=STEPS).model_dump_json())
    planned = stoker(stack, "plan", dataset["dataset_version_id"], "--recipe", recipe, "--budget", "1.00", "--json")
    plan = json.loads(planned.stdout)
    assert planned.returncode == 0, plan["blocking"]

    launched = stoker(stack, "launch", plan["plan_id"], "--watch", "--json")
    assert launched.returncode == 0, launched.stderr
    job = json.loads(launched.stdout)
    assert (job["status"], job["attempt"], job["reason"]) == ("completed", 1, "success")
    assert 0 < job["spent_micro_usd"] < 1_000_000
    assert job["billing_started_at"] is None

    out = tmp_path / "out"
    got = stoker(stack, "artifacts", "get", job["job_id"], "--to", out, "--json")
    assert got.returncode == 0, got.stderr
    for artifact in json.loads(got.stdout):
        assert hashlib.sha256((out / artifact["name"]).read_bytes()).hexdigest() == artifact["sha256"]
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["train"]["steps"] == STEPS
    assert metrics["held_out"]["loss_after"] < metrics["held_out"]["loss_before"]
    assert json.loads((out / "receipt.json").read_text())["dataset_sha256"] == dataset["sha256"]

    assert "held-out loss after training" in stoker(stack, "logs", job["job_id"]).stdout
    assert job["job_id"] in stoker(stack, "jobs").stdout
    assert [machine["state"] for machine in stack.machines(job["job_id"])] == ["terminated"]
    with pytest.raises(Conflicting):
        stack.client.cancel(job["job_id"])

    # What happened can be followed again from its beginning.
    news = list(stack.client.follow(job["job_id"]))
    statuses = [item.job.status for item in news if isinstance(item, JobChanged)]
    assert (statuses[0], statuses[-1]) == ("queued", "completed")
    assert statuses == sorted(statuses, key=ORDER.index), "a job never goes back without a failed attempt"
    points = [point for item in news if isinstance(item, MetricsReported) for point in item.points]
    assert [point.step for point in points if "loss" in point.values] == list(range(1, STEPS + 1))


def test_following_outlives_an_api_that_is_killed(stack: LiveStack, tiny_model: Path, dataset: str) -> None:
    steps = 20
    job = stack.client.launch(
        stack.client.plan(dataset, recipe=tiny_recipe(tiny_model, steps=steps), budget_usd="1.00")
    )
    seen_steps: list[int] = []
    lines: list[int] = []
    changes: list[int] = []
    was_killed = False
    for news in stack.client.follow(job.job_id):
        if isinstance(news, MetricsReported):
            seen_steps += [point.step for point in news.points if "loss" in point.values]
        elif isinstance(news, LogWritten):
            lines += [line.sequence for line in news.lines]
        elif isinstance(news, JobChanged):
            changes.append(news.sequence)
        if seen_steps and not was_killed:
            was_killed = True
            stack.kill("api")
    assert was_killed
    assert sorted(seen_steps) == list(range(1, steps + 1))
    assert sorted(lines) == list(range(1, len(lines) + 1))
    assert changes == list(range(1, len(changes) + 1))
    assert stack.client.job(job.job_id).status == "completed"


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


def test_a_launch_that_is_sent_again_is_the_same_job(stack: LiveStack, tiny_model: Path, dataset: str) -> None:
    plan = stack.client.plan(dataset, recipe=tiny_recipe(tiny_model, steps=1), budget_usd="0.50")
    first = stack.client.launch(plan, idempotency_key="once")
    assert stack.client.launch(plan, idempotency_key="once").job_id == first.job_id
    stack.client.cancel(first.job_id)
    *_, last = (news for news in stack.client.follow(first.job_id) if isinstance(news, JobChanged))
    assert last.job.is_over


def test_a_plan_counts_rows_with_the_models_own_tokenizer(
    stack: LiveStack, tiny_model: Path, dataset: str, rows: Path
) -> None:
    plan = stack.client.plan(dataset, recipe=tiny_recipe(tiny_model, steps=1), budget_usd="0.50")
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    texts = [
        tokenizer.apply_chat_template(json.loads(line)["messages"], tokenize=False)
        for line in rows.read_text().splitlines()
    ]
    lengths = [len(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in texts]
    assert plan.tokens is not None
    assert plan.tokens.is_counted
    assert (plan.tokens.rows_measured, plan.tokens.max, plan.tokens.total) == (80, max(lengths), sum(lengths))
    done = stoker(stack, "plan", dataset, "--model", str(tiny_model))
    assert "counted on 80 of 80" in " ".join(done.stdout.split())


def test_bad_rows_are_shown_with_their_lines(stack: LiveStack, tmp_path: Path) -> None:
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"messages": [{"role": "user", "content": "Hello?"}]}\nno json\n')
    done = stoker(stack, "data", "add", bad)
    assert done.returncode == 1
    assert "assistant" in done.stderr
    assert "no json" in done.stderr
    assert "Traceback" not in done.stderr


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
    done = stoker(stack, "plan", dataset, "--model", "/no/such/model")
    assert done.returncode == 1
    assert "model_not_found" in done.stdout
    assert "blocked" in done.stdout


def test_without_a_key_or_with_a_wrong_one_nothing_is_answered(stack: LiveStack) -> None:
    url = stack.stack.urls["api"]
    assert httpx.get(f"{url}/v1/jobs", timeout=10).status_code == 401
    with Client(url=url, api_key="stk_" + "x" * 43) as stranger, pytest.raises(NotSignedIn):
        stranger.jobs()

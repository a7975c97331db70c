"""The client and the command line against the whole system, with a model that trains in seconds."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from stoker.client import Client, JobChanged, LogWritten, MetricsReported
from stoker.client.errors import Conflicting
from stoker.client.transfer import hash_file
from stoker.demo.stack_process import StackProcess
from stoker_shared.recipe import Batch, HeldOut, Length, Lora, ModelChoice, Recipe
from tests.support.ports import free_port
from tests.support.tiny_model import build_tiny_model, conversations, write_rows


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StackProcess]:
    """The whole system; its end fails the tests if a process is left."""
    with pytest.MonkeyPatch.context() as patch:
        # The usual port may be taken by the stack of another worker at the same moment.
        patch.setenv("STOKER_STACK_PORT", str(free_port()))
        with StackProcess(tmp_path_factory.mktemp("stack") / "data") as started:
            yield started


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama of 0.8 M parameters."""
    return build_tiny_model(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture
def client(stack: StackProcess) -> Iterator[Client]:
    """A client that finds the stack by its data folder."""
    with Client(data_dir=stack.data_dir) as made:
        yield made


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """80 good rows."""
    return write_rows(tmp_path / "code_words.jsonl", conversations())


def recipe(model: Path, *, steps: int) -> Recipe:
    return Recipe(
        model=ModelChoice(name_or_path=str(model)),
        held_out=HeldOut(fraction=0.1),
        lora=Lora(rank=4),
        batch=Batch(per_device=4, max_length=64),
        length=Length(max_steps=steps),
    )


def stoker(stack: StackProcess, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    environment = {name: os.environ[name] for name in ("PATH", "HOME")} | {"STOKER_DATA": str(stack.data_dir)}
    command = [sys.executable, "-m", "stoker.main", *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=280, check=False)


def test_from_a_file_to_a_model_by_commands(stack: StackProcess, model: Path, rows: Path, tmp_path: Path) -> None:
    added = stoker(stack, "data", "add", rows, "--json")
    dataset = json.loads(added.stdout)
    assert dataset["statistics"]["rows"] == 80, added.stderr

    options = ("--model", model, "--max-steps", "5", "--max-length", "64", "--lora-rank", "4", "--budget", "0.50")
    planned = stoker(stack, "plan", dataset["dataset_version_id"], *options, "--json")
    plan = json.loads(planned.stdout)
    assert planned.returncode == 0, plan["blocking"]

    launched = stoker(stack, "launch", plan["plan_id"], "--watch", "--json")
    assert launched.returncode == 0, launched.stderr
    job = json.loads(launched.stdout)
    assert (job["status"], job["reason"]) == ("completed", "success")

    got = stoker(stack, "artifacts", "get", job["job_id"], "--to", tmp_path / "out", "--json")
    assert got.returncode == 0, got.stderr
    for artifact in json.loads(got.stdout):
        assert hash_file(tmp_path / "out" / artifact["name"]).sha256 == artifact["sha256"]
    metrics = json.loads((tmp_path / "out/metrics.json").read_text())
    assert metrics["train"]["steps"] == 5

    assert "held-out loss after training" in stoker(stack, "logs", job["job_id"]).stdout
    assert job["job_id"] in stoker(stack, "jobs").stdout


def test_following_outlives_an_api_that_is_killed(stack: StackProcess, client: Client, model: Path, rows: Path) -> None:
    steps = 40
    plan = client.plan(client.upload_dataset(rows), recipe=recipe(model, steps=steps), budget_usd="0.50")
    job = client.launch(plan)
    seen_steps: list[int] = []
    lines: list[int] = []
    changes: list[int] = []
    was_killed = False
    for news in client.follow(job.job_id):
        if isinstance(news, MetricsReported):
            seen_steps += [point.step for point in news.points if "loss" in point.values]
        elif isinstance(news, LogWritten):
            lines += [line.sequence for line in news.lines]
        elif isinstance(news, JobChanged):
            changes.append(news.sequence)
        if seen_steps and not was_killed:
            was_killed = True
            os.kill(_pid_of(stack, "api"), signal.SIGKILL)
    assert was_killed
    assert sorted(seen_steps) == list(range(1, steps + 1))
    assert sorted(lines) == list(range(1, len(lines) + 1))
    assert changes == list(range(1, len(changes) + 1))
    assert client.job(job.job_id).status == "completed"
    with pytest.raises(Conflicting):
        client.cancel(job.job_id)


def test_a_launch_that_is_sent_again_is_the_same_job(client: Client, model: Path, rows: Path) -> None:
    plan = client.plan(client.upload_dataset(rows), recipe=recipe(model, steps=1), budget_usd="0.50")
    first = client.launch(plan, idempotency_key="once")
    assert client.launch(plan, idempotency_key="once").job_id == first.job_id
    client.cancel(first.job_id)
    *_, last = (news for news in client.follow(first.job_id) if isinstance(news, JobChanged))
    assert last.job.is_over


def test_a_plan_counts_rows_with_the_models_own_tokenizer(
    stack: StackProcess, client: Client, model: Path, rows: Path
) -> None:
    dataset = client.upload_dataset(rows)
    plan = client.plan(dataset, recipe=recipe(model, steps=1), budget_usd="0.50")
    tokenizer = AutoTokenizer.from_pretrained(model)
    texts = [
        tokenizer.apply_chat_template(json.loads(line)["messages"], tokenize=False)
        for line in rows.read_text().splitlines()
    ]
    lengths = [len(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in texts]
    assert plan.tokens is not None
    assert plan.tokens.is_counted
    assert (plan.tokens.rows_measured, plan.tokens.max, plan.tokens.total) == (80, max(lengths), sum(lengths))
    done = stoker(stack, "plan", dataset.dataset_version_id, "--model", str(model))
    assert "counted on 80 of 80" in " ".join(done.stdout.split())


def test_bad_rows_are_shown_with_their_lines(stack: StackProcess, tmp_path: Path) -> None:
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"messages": [{"role": "user", "content": "Hello?"}]}\nno json\n')
    done = stoker(stack, "data", "add", bad)
    assert done.returncode == 1
    assert "assistant" in done.stderr
    assert "no json" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_plan_that_cannot_run_says_what_is_in_the_way(stack: StackProcess, client: Client, rows: Path) -> None:
    dataset = client.upload_dataset(rows)
    done = stoker(stack, "plan", dataset.dataset_version_id, "--model", "/no/such/model")
    assert done.returncode == 1
    assert "model_not_found" in done.stdout
    assert "blocked" in done.stdout


def _pid_of(stack: StackProcess, name: str) -> int:
    content = json.loads((stack.data_dir / "stack.json").read_text())
    return int(content["processes"][name]["pid"])

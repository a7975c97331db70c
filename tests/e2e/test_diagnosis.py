"""A training that really fails: through every service to a verdict, a changed plan that fits, and its launch."""

import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from stoker.client import JobChanged
from tests.support.live_stack import LiveStack, tiny_recipe
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(420)]


def poison(model: Path) -> None:
    """Weights that are not numbers: the first loss is NaN."""
    path = model / "model.safetensors"
    weights = load_file(str(path))
    save_file({name: value * float("nan") for name, value in weights.items()}, str(path), metadata={"format": "pt"})


def test_a_training_whose_loss_is_no_number_is_diagnosed_and_run_again_changed(
    stack: LiveStack, tiny_model: Path, dataset: str, tmp_path: Path
) -> None:
    model = tmp_path / "model"
    shutil.copytree(tiny_model, model)
    poison(model)
    recipe = tiny_recipe(model, steps=6)
    plan = stack.client.plan(dataset, recipe=recipe, provider="local", budget_usd="1.00", max_attempts=1)
    failed = stack.client.launch(plan)
    assert [item for item in stack.client.follow(failed.job_id) if isinstance(item, JobChanged)]
    ended = stack.client.job(failed.job_id)
    assert (ended.status, ended.reason) == ("failed", "non_finite_loss"), ended.detail

    wait_until(lambda: stack.client.why(failed.job_id).diagnosis is not None)
    why = stack.client.why(failed.job_id).diagnosis
    assert why is not None
    assert why.verdict.cause == "loss_not_finite"
    lines = {line.sequence: line.text for line in stack.client.logs(failed.job_id)}
    from_the_log = [one for one in why.verdict.evidence if one.source == "log"]
    assert all(one.text in lines[one.sequence or 0] for one in from_the_log)
    assert stack.client.job(failed.job_id).diagnosed is not None

    known = stack.client.proposals(failed.job_id)
    assert "lower_learning_rate" in [one.change for one in known.proposals]
    shutil.copyfile(tiny_model / "model.safetensors", model / "model.safetensors")
    again = stack.client.retry(failed.job_id, known.proposals[0])
    assert stack.client.retry(failed.job_id, known.proposals[0]).job_id == again.job_id
    assert [item for item in stack.client.follow(again.job_id) if isinstance(item, JobChanged)]
    assert stack.client.job(again.job_id).status == "completed"

"""A job whose money runs out while it trains: through every service, with a real trainer that stores what it has."""

from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from stoker.client import JobChanged
from stoker_shared.money import ONE_USD, MicroUsd, cost_of
from tests.support.live_stack import LiveStack, tiny_recipe

MACHINE_TIME = timedelta(seconds=100)
FAR_TOO_MANY_STEPS = 100_000
PROJECT = "landing"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(420)]


def test_a_job_lands_with_its_model_before_the_budget_of_its_project_is_gone(
    stack: LiveStack, tiny_model: Path, dataset: str
) -> None:
    recipe = tiny_recipe(tiny_model, steps=FAR_TOO_MANY_STEPS)
    plan = stack.client.plan(dataset, recipe=recipe, provider="local", budget_usd="10.00", project=PROJECT)
    limit = cost_of(MACHINE_TIME, MicroUsd(plan.offers[0].offer.price_micro_usd_per_hour))
    stack.client.set_budget(Decimal(limit) / ONE_USD, project=PROJECT)

    job = stack.client.launch(plan)
    changes = [item for item in stack.client.follow(job.job_id) if isinstance(item, JobChanged)]

    ended = stack.client.job(job.job_id)
    assert (ended.status, ended.reason) == ("completed", "budget_landed")
    assert "landing_started" in [change.type for change in changes]
    assert 0 < ended.spent_micro_usd <= limit
    (budget,) = [found for found in stack.client.budgets() if found.name == PROJECT]
    assert (budget.committed_micro_usd, budget.held_micro_usd) == (ended.spent_micro_usd, 0)
    assert {"model.safetensors", "metrics.json", "receipt.json"} <= {
        artifact.name.rpartition("/")[2] for artifact in stack.client.artifacts(job.job_id)
    }
    assert [machine["state"] for machine in stack.machines(job.job_id)] == ["terminated"]

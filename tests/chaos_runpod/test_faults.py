"""One job for each fault of RunPod: no pod is left, none is made twice, and every micro-dollar is where it belongs."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.chaos.outcomes import model_is_whole, wait_until
from tests.chaos_runpod.outcomes import Outcome, examine
from tests.chaos_runpod.trouble import CASES, Case, Field, until_training

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(1500)]


@pytest.fixture
def whole_field(field: Field) -> Iterator[Field]:
    """Healed, and without a job, after each case."""
    yield field
    field.heal()
    client = field.live.stack.client
    for job in client.jobs():
        if not job.is_over:
            client.cancel(job.job_id)
    wait_until(lambda: all(job.is_over for job in client.jobs()))
    wait_until(lambda: all(pod["ended_at"] for pod in field.live.cloud.pods()))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_fault_costs_no_more_than_it_must(
    whole_field: Field, record: Callable[[Outcome], None], tmp_path: Path, case: Case
) -> None:
    live, client = whole_field.live, whole_field.live.stack.client
    plan = live.plan(whole_field.dataset, steps=case.steps, checkpoint_every=case.checkpoint_every)
    assert plan.is_launchable, plan.blocking
    if case.before:
        case.before(whole_field, "")
    job_id = client.launch(plan).job_id
    if case.blow:
        until_training(whole_field, job_id)
        case.blow(whole_field, job_id)
    outcome = examine(live, job_id, fault=case.fault)
    record(outcome)

    assert len(outcome.seen) == len(case.reasons), outcome.line()
    both = zip(outcome.seen, case.reasons, strict=True)
    assert [seen.reason for seen, wanted in both if seen.reason not in wanted.split("|")] == [], outcome.line()
    assert (outcome.pods, outcome.left, outcome.twice) == (case.pods, 0, 0), outcome.line()
    assert outcome.spent == outcome.charged, outcome.line()
    assert outcome.out_of_balance == 0, outcome.line()
    read = " ".join([*(seen.text for seen in outcome.seen), client.job(job_id).advice])
    assert [word for word in case.words if word not in read] == [], read
    assert all(seen.message for seen in outcome.seen)
    if case.pods:
        assert case.ended_by in live.pods(job_id)[-1]["ended_by"], live.pods(job_id)[-1]["ended_by"]
    if case.reasons[-1] == "success":
        assert model_is_whole(live.stack, job_id, tmp_path)

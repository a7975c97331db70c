"""Kill each part in each state of a job: the job ends once, on one machine for each attempt, with nothing lost."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.chaos.holds import HOLDS, held
from tests.chaos.outcomes import Outcome, examine, model_is_whole, wait_until
from tests.support.live_stack import LiveStack, tiny_recipe

COMPONENTS = ("deployer", "api", "metrics", "dataset-gateway", "nats", "postgres", "object-store")

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(600)]

Launch = Callable[[LiveStack, int], Callable[[], str]]


@pytest.fixture
def launcher(dataset: str, tiny_model: Path) -> Launch:
    """Plans a job now and hands over what launches it: while a part stands still no plan could be made."""

    def plan(stack: LiveStack, steps: int) -> Callable[[], str]:
        recipe = tiny_recipe(tiny_model, steps=steps)
        planned = stack.client.plan(dataset, recipe=recipe, provider="local", budget_usd="1.00")
        return lambda: stack.client.launch(planned).job_id

    return plan


MATRIX = [
    pytest.param(component, state, id=f"{component}-{state}")
    for component in (*COMPONENTS, "training-server")
    for state in HOLDS
    # Not one of ours at a cloud provider; here a death in mid-training is enough.
    if component != "training-server" or state == "training"
]


@pytest.mark.parametrize(("component", "state"), MATRIX)
def test_job_completes_exactly_once(
    stack: LiveStack, launcher: Launch, record: Callable[[Outcome], None], tmp_path: Path, component: str, state: str
) -> None:
    started, steps = time.monotonic(), HOLDS[state].steps
    restarts = stack.restarts(component)
    with held(stack, state, launcher(stack, steps)) as job_id:
        stack.kill(component)
        wait_until(lambda: stack.restarts(component) > restarts)
    outcome = examine(stack, job_id, where=f"kill {component}", when=state, steps=steps, started=started)
    record(outcome)
    assert outcome.is_sound, outcome.line()
    assert outcome.attempts == 1, outcome.line()
    assert model_is_whole(stack, job_id, tmp_path)


@pytest.mark.parametrize("server", ["nats", "postgres"])
def test_job_outlives_an_orderly_restart(
    stack: LiveStack, launcher: Launch, record: Callable[[Outcome], None], tmp_path: Path, server: str
) -> None:
    started, steps = time.monotonic(), HOLDS["training"].steps
    with held(stack, "training", launcher(stack, steps)) as job_id:
        stack.restart(server)
    outcome = examine(stack, job_id, where=f"restart {server}", when="training", steps=steps, started=started)
    record(outcome)
    assert outcome.is_sound, outcome.line()
    assert outcome.attempts == 1, outcome.line()
    assert model_is_whole(stack, job_id, tmp_path)

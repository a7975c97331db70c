"""Two deployers on one database: each job is led by one of them at a time, also when one dies."""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from stoker.stack.services import SERVICES, ServiceSpec, StackFacts, http_probe
from tests.chaos.outcomes import Outcome, examine, wait_until
from tests.support.live_stack import LiveStack, live_stack, tiny_recipe
from tests.support.ports import free_port

JOBS = 4
STEPS = 40

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def racing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveStack]:
    """The stack with a second deployer."""
    with live_stack(tmp_path_factory.mktemp("race") / "data", services=(*SERVICES, second_deployer())) as running:
        yield running


def second_deployer() -> ServiceSpec:
    """As the first, on a port of its own; the first has brought their schema up to date."""
    first, port = next(spec for spec in SERVICES if spec.name == "deployer"), free_port()

    def environment(facts: StackFacts) -> Mapping[str, str]:
        return {**first.environment(facts), "STOKER_DEPLOYER_PORT": str(port)}

    return replace(
        first,
        name="deployer-2",
        environment=environment,
        needs=("deployer",),
        port_name=None,
        migrate=None,
        probe=lambda _facts: http_probe(f"http://127.0.0.1:{port}/readyz"),
    )


@pytest.mark.parametrize("victims", [(), ("deployer",), ("deployer", "deployer-2")], ids=["none", "one", "both"])
def test_two_deployers_lead_each_job_once(
    racing: LiveStack, tiny_model: Path, rows: Path, record: Callable[[Outcome], None], victims: tuple[str, ...]
) -> None:
    started = time.monotonic()
    dataset = racing.client.upload_dataset(rows).dataset_version_id
    recipe = tiny_recipe(tiny_model, steps=STEPS)
    plan = racing.client.plan(dataset, recipe=recipe, provider="local", budget_usd="1.00")
    jobs = [racing.client.launch(plan).job_id for _ in range(JOBS)]
    for victim in victims:
        wait_until(lambda: any(racing.client.job(job_id).status == "training" for job_id in jobs))
        racing.kill(victim)
    when = f"killed {len(victims)}"
    found = [examine(racing, job_id, where="race", when=when, steps=STEPS, started=started) for job_id in jobs]
    for outcome in found:
        record(outcome)
    assert [outcome.line() for outcome in found if not outcome.is_sound or outcome.attempts != 1] == []

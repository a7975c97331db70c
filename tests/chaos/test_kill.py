"""Kill or restart each part while a job trains: the job ends once, with one machine, and no point lost or doubled."""

import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import pytest

from tests.support.live_stack import LiveStack, tiny_recipe

STEPS = 240
STEPS_BEFORE_THE_BLOW = 20
PATIENCE_SECONDS = 300

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(600)]


@dataclass(frozen=True)
class Outcome:
    """What was left of a job after the blow."""

    case: str
    job_id: str
    status: str
    attempts: int
    machines: int
    restarts: int
    points: int
    lost: int
    duplicates: int
    ends: int
    seconds: float

    def line(self) -> str:
        return (
            f"{self.case:<26} {self.job_id} {self.status:<10} attempts={self.attempts} machines={self.machines} "
            f"restarts={self.restarts} points={self.points} lost={self.lost} duplicates={self.duplicates} "
            f"ends={self.ends} {self.seconds:.0f}s"
        )


SERVICES = ("api", "deployer", "dataset-gateway", "metrics", "training-server")
SERVERS = ("nats", "postgres", "object-store")


def kill(name: str) -> Callable[[LiveStack], None]:
    return lambda stack: stack.kill(name)


def restart(name: str) -> Callable[[LiveStack], None]:
    return lambda stack: stack.restart(name)


CASES = (
    *(pytest.param(f"kill -9 {name}", name, kill(name), id=f"kill-{name}") for name in (*SERVICES, *SERVERS)),
    *(pytest.param(f"restart {name}", name, restart(name), id=f"restart-{name}") for name in ("nats", "postgres")),
)


@pytest.mark.parametrize(("case", "name", "blow"), CASES)
def test_job_completes_exactly_once(  # noqa: PLR0917 - fixtures
    stack: LiveStack,
    tiny_model: Path,
    dataset: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    case: str,
    name: str,
    blow: Callable[[LiveStack], None],
) -> None:
    started = time.monotonic()
    restarts_before = stack.restarts(name)
    plan = stack.client.plan(dataset, recipe=tiny_recipe(tiny_model, steps=STEPS), provider="local", budget_usd="1.00")
    job_id = stack.client.launch(plan).job_id
    wait_until(lambda: trained_steps(stack, job_id) >= STEPS_BEFORE_THE_BLOW)
    blow(stack)
    wait_until(lambda: is_over(stack, job_id))
    outcome = examine(stack, job_id, case=case, restarts=stack.restarts(name) - restarts_before, started=started)
    with capsys.disabled():
        sys.stdout.write(f"\n{outcome.line()}\n")
    assert outcome.restarts == 1 or not case.startswith("kill"), "the blow did not land"
    assert outcome.status == "completed"
    assert (outcome.attempts, outcome.machines) == (1, 1)
    assert (outcome.lost, outcome.duplicates, outcome.ends) == (0, 0, 1)
    assert model_is_whole(stack, job_id, tmp_path)


def examine(stack: LiveStack, job_id: str, *, case: str, restarts: int, started: float) -> Outcome:
    """Count what is left. Every step is logged once, so the loss of each step 1..STEPS must be there once."""
    wait_until(lambda: len(losses(stack, job_id)) >= STEPS, patience=60, or_else_go_on=True)
    steps = Counter(losses(stack, job_id))
    job = stack.client.job(job_id)
    return Outcome(
        case=case,
        job_id=job_id,
        status=job.status,
        attempts=job.attempt,
        machines=len(stack.machines(job_id)),
        restarts=max(restarts, 0),  # an orderly restart begins the count anew
        points=sum(steps.values()),
        lost=sum(1 for step in range(1, STEPS + 1) if steps[step] == 0),
        duplicates=sum(count - 1 for count in steps.values()),
        ends=stored_ends(stack, job_id),
        seconds=time.monotonic() - started,
    )


def stored_ends(stack: LiveStack, job_id: str) -> int:
    """How many ends the read model has stored for a job: the client would hide a second one."""

    async def count() -> int:
        connection = await asyncpg.connect(stack.database_url("api"))
        try:
            types = await connection.fetch("SELECT payload->>'type' AS type FROM job_events WHERE job_id = $1", job_id)
            return sum(1 for row in types if row["type"] in {"completed", "failed", "cancelled"})
        finally:
            await connection.close()

    return asyncio.run(count())


def losses(stack: LiveStack, job_id: str) -> list[int]:
    """The steps for which a training loss is stored, with repetitions if there are any."""
    return [point.step for point in stack.client.metrics(job_id) if "loss" in point.values]


def trained_steps(stack: LiveStack, job_id: str) -> int:
    job = stack.client.job(job_id)
    assert not job.is_over, f"{job_id} was over before the blow: {job.status} {job.reason} {job.detail}"
    return max(losses(stack, job_id), default=0) if job.status == "training" else 0


def is_over(stack: LiveStack, job_id: str) -> bool:
    return stack.client.job(job_id).is_over


def model_is_whole(stack: LiveStack, job_id: str, folder: Path) -> bool:
    """Every artifact arrives with its checksum (the client compares), and the summary says that the loss fell."""
    for artifact in stack.client.artifacts(job_id):
        stack.client.download_artifact(artifact, folder)
    metrics = json.loads((folder / "metrics.json").read_text())
    return bool(metrics["held_out"]["loss_after"] < metrics["held_out"]["loss_before"])


def wait_until(is_true: Callable[[], bool], *, patience: float = PATIENCE_SECONDS, or_else_go_on: bool = False) -> None:
    """Ask again and again. While a service is being restarted an answer may be missing; that is no failure."""
    from stoker.client.errors import ConnectionLost, ServerBusy, ServerFailed

    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        try:
            if is_true():
                return
        except (ConnectionLost, ServerBusy, ServerFailed):
            pass
        time.sleep(0.25)
    if not or_else_go_on:
        raise TimeoutError(f"Not so after {patience:.0f} s.")

"""Every status in every situation that matters, as a table: what is seen, and the one step that follows."""

import pytest

from stoker_deployer.jobs.steps import (
    BeginAttempt,
    BeginTermination,
    EndAttempt,
    EndQueued,
    EnterPhase,
    RecordMachine,
)
from stoker_deployer.jobs.transitions import next_step
from stoker_deployer.jobs.view import Sight
from stoker_deployer.providers import Exited, Gone, Machine
from stoker_shared.commands import PlannedOffer
from stoker_shared.job_state import TERMINAL, EndReason, JobStatus, may_follow
from tests.unit.deployer.cases_before_and_after import PROVISIONING, STARTING, TERMINATING, WAITING
from tests.unit.deployer.cases_keeping import KEPT
from tests.unit.deployer.cases_running import WITH_MACHINE
from tests.unit.deployer.rows import HOURLY, JOB, NOW, ago, attempt, command, exited, job, report, view
from tests.unit.deployer.situations import QUEUED_THERE, RUNNING, UNKNOWN, WELL, WITHOUT_MACHINE, Case, R, S

CASES = [*WAITING, *PROVISIONING, *STARTING, *WITH_MACHINE, *KEPT, *TERMINATING]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.row.status}: {case.what}")
def test_next_step(case: Case) -> None:
    tried = case.tried or (None if case.row.state == S.QUEUED else attempt())
    step = next_step(view(case.row, tried, case.seen, **dict(case.about)))
    assert type(step) is case.step
    for name in ("reason", "status", "noted", "after", "has_failed"):
        expected = getattr(case, name)
        if expected is not None:
            assert getattr(step, name) == expected, name


@pytest.mark.parametrize("status", sorted(TERMINAL))
def test_nothing_follows_an_end(status: JobStatus) -> None:
    with pytest.raises(KeyError):
        next_step(view(job(status), attempt(), WELL))


@pytest.mark.parametrize("status", [S.PROVISIONING, S.STARTING, S.PREPARING, S.TRAINING, S.SAVING])
def test_a_cancel_is_heard_in_each_status_that_may_own_a_machine(status: JobStatus) -> None:
    for seen in (WELL, Sight(UNKNOWN), Sight(Gone(), report=report()), Sight(Exited(1), report=report())):
        step = next_step(view(job(status), attempt(), seen, is_cancelled=True))
        assert step == BeginTermination(R.CANCELLED_BY_USER, "no need")


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.row.status}: {case.what}")
def test_each_step_keeps_to_the_transitions(case: Case) -> None:
    """The walk over TRANSITIONS: whatever a rule decides is an allowed transition, or none."""
    tried = case.tried or (None if case.row.state == S.QUEUED else attempt())
    match next_step(view(case.row, tried, case.seen, **dict(case.about))):
        case BeginAttempt():
            following = S.PROVISIONING
        case RecordMachine():
            following = S.STARTING if case.row.state == S.PROVISIONING else case.row.state
        case EnterPhase(status):
            following = status
        case BeginTermination():
            following = S.TERMINATING
        case EndAttempt(status=status):
            following = status
        case EndQueued(reason):
            following = reason.ending.status
        case _:
            return
    assert following == case.row.state or may_follow(case.row.state, following)


def test_reservation_is_an_hour_or_what_is_left() -> None:
    full = next_step(view(job(S.QUEUED), None, Sight()))
    poor = next_step(view(job(S.QUEUED, budget_micro_usd=50_000), None, Sight()))
    assert isinstance(full, BeginAttempt)
    assert isinstance(poor, BeginAttempt)
    assert (full.reservation, poor.reservation) == (HOURLY, 50_000)


def test_a_free_machine_needs_no_budget() -> None:
    free = PlannedOffer(provider="local", gpu_type="cpu", gpu_count=0, price_micro_usd_per_hour=0)
    step = next_step(view(job(S.QUEUED, launch=command(offers=[free]), budget_micro_usd=0), None, Sight()))
    assert isinstance(step, BeginAttempt)
    assert step.reservation == 0


def test_a_refusal_for_lack_of_budget_tells_the_numbers() -> None:
    step = next_step(view(job(S.QUEUED, budget_micro_usd=100), None, Sight()))
    assert isinstance(step, EndQueued)
    assert "$0.0001 of $0.0001 are left; attempt 1 needs at least $0.0028 at $1.0000 per hour." in step.detail


def test_pauses_between_attempts_grow_to_a_limit() -> None:
    pauses = []
    for number in (1, 2, 3, 12):
        row = job(S.TERMINATING, end_reason=R.MACHINE_LOST, attempt=number, max_attempts=20)
        step = next_step(view(row, attempt(number, terminate_calls=1), Sight(Gone())))
        assert isinstance(step, EndAttempt)
        assert step.retry_at is not None
        pauses.append((step.retry_at - NOW).total_seconds())
    assert pauses == [5, 10, 20, 300]


def test_of_several_machines_of_a_name_one_living_is_kept() -> None:
    name = f"{JOB}-1"
    found = (Machine(name, "c", RUNNING), Machine(name, "a", Gone()), Machine(name, "b", QUEUED_THERE))
    step = next_step(view(job(S.PROVISIONING), WITHOUT_MACHINE, Sight(RUNNING, found)))
    assert isinstance(step, RecordMachine)
    assert step.machine.handle == "b"
    assert [machine.handle for machine in step.surplus] == ["c"]


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("out_of_memory", R.OUT_OF_MEMORY),
        ("terminated", R.TRAINER_TERMINATED),
        ("pod_setup_failed", R.POD_SETUP_FAILED),
        ("dataset_unreadable", R.DATASET_UNREADABLE),
        ("no_such_word", R.TRAINER_ERROR),
        ("cancelled_by_user", R.TRAINER_ERROR),
        ("budget_exhausted", R.TRAINER_ERROR),
    ],
)
def test_what_a_pod_says_becomes_a_reason(word: str, reason: EndReason) -> None:
    step = next_step(view(job(S.TRAINING), attempt(), Sight(RUNNING, report=exited(word, message="it broke"))))
    assert step == BeginTermination(reason, "it broke")


def test_cost_ends_when_the_machine_does() -> None:
    ended = view(job(S.TRAINING), attempt(), Sight(Exited(0, ended_at=ago(minutes=4))))
    vanished = view(job(S.TRAINING), attempt(absent_since=ago(minutes=4)), Sight(Gone()))
    goes_on = view(job(S.TRAINING), attempt(), WELL)
    assert (ended.cost, vanished.cost, goes_on.cost) == (100_000, 100_000, 166_667)

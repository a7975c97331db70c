"""Landing: when it is ordered, how it ends, and that no wait goes past the moment at which money is gone."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker_deployer.jobs.landing import budget_exhausted, funds, reserve_ahead
from stoker_deployer.jobs.steps import BeginTermination, EndAttempt, EnterPhase, OrderLanding, Step, Wait
from stoker_deployer.jobs.transitions import next_step
from stoker_deployer.jobs.view import Sight, View
from stoker_deployer.ledger.book import Book
from stoker_deployer.ledger.levels import Level, LevelKind, levels_of
from stoker_deployer.providers import Gone
from stoker_shared.job_state import EndReason, JobStatus
from stoker_shared.money import MicroUsd, cost_of
from tests.unit.deployer.rows import HOURLY, JOB, NOW, POLICY, ago, attempt, exited, job, report, view
from tests.unit.deployer.situations import RUNNING, UNKNOWN, R, S

COST = cost_of(timedelta(minutes=10), HOURLY)
"""Of the machine until now."""


def _worth(**span: float) -> int:
    return COST + cost_of(timedelta(**span), HOURLY)


def _trains(*, landing_seconds: float | None = None, status: JobStatus = S.TRAINING, **changes: Any) -> View:
    seen = Sight(RUNNING, report=report(phase=status.value, landing_seconds=landing_seconds))
    tried = changes.pop("tried", None) or attempt()
    about = {name: changes.pop(name) for name in ("book",) if name in changes}
    return view(job(status, **changes), tried, seen, **about)


@pytest.mark.parametrize(
    ("measured", "left", "is_due"),
    [
        (60, {"seconds": 101}, False),
        (60, {"seconds": 99}, True),  # 60 s * 1.5 + a tick of 10 s
        (600, {"minutes": 15}, True),
        (None, {"minutes": 6}, False),  # unmeasured: a quarter of 16 minutes of machine time, and the tick
        (None, {"minutes": 3}, True),
    ],
)
def test_landing_is_ordered_when_what_is_left_is_what_it_takes(
    measured: float | None, left: dict[str, float], *, is_due: bool
) -> None:
    step = next_step(_trains(landing_seconds=measured, budget_micro_usd=_worth(**left)))
    assert isinstance(step, OrderLanding) == is_due
    if isinstance(step, OrderLanding):
        assert step.why == "budget"
        assert abs(step.deadline - (NOW + timedelta(**left) - POLICY.budget_tick)) < timedelta(milliseconds=10)
        assert "are spent" in step.detail


def test_without_a_measurement_five_minutes_are_taken_at_most() -> None:
    rich = 1_000 * HOURLY
    for left, expected in ((301, Wait), (299, OrderLanding)):
        tried = attempt(billing_started_at=ago(seconds=7200 - left))
        assert type(next_step(_trains(tried=tried, budget_micro_usd=rich))) is expected


def test_landing_before_the_longest_run_is_over() -> None:
    step = next_step(_trains(landing_seconds=40, max_duration_seconds=600 + 60, budget_micro_usd=_worth(hours=9)))
    assert isinstance(step, OrderLanding)
    assert (step.why, step.deadline) == ("duration", NOW + timedelta(seconds=60))


def test_it_is_ordered_once_and_not_while_the_model_is_being_saved() -> None:
    poor = {"budget_micro_usd": _worth(seconds=30)}
    lands = attempt(landing_since=ago(seconds=5), landing_why="budget")
    assert isinstance(next_step(_trains(tried=lands, **poor)), Wait)
    assert isinstance(next_step(_trains(status=S.SAVING, **poor)), Wait)


def test_a_trainer_that_does_not_land_is_ended_when_the_money_is_gone() -> None:
    lands = attempt(landing_since=ago(seconds=50), landing_why="budget")
    step = next_step(_trains(tried=lands, budget_micro_usd=_worth(seconds=10)))
    assert isinstance(step, BeginTermination)
    assert step.reason == R.BUDGET_EXHAUSTED


@pytest.mark.parametrize(
    ("why", "has_artifacts", "reason"),
    [
        ("budget", True, R.BUDGET_LANDED),
        ("budget", False, R.BUDGET_EXHAUSTED),
        ("duration", True, R.DURATION_LANDED),
        ("duration", False, R.MAX_DURATION_REACHED),
    ],
)
def test_what_is_stored_decides_how_a_landing_ends(why: str, has_artifacts: bool, reason: EndReason) -> None:  # noqa: FBT001
    seen = Sight(RUNNING, report=exited("landed", code=0, message="step 40 of 100"), has_artifacts=has_artifacts)
    step = next_step(view(job(S.SAVING), attempt(landing_since=ago(seconds=9), landing_why=why), seen))
    assert isinstance(step, BeginTermination)
    assert step.reason == reason
    assert "step 40 of 100" in step.detail


def test_while_the_gateway_does_not_tell_what_is_stored_nothing_is_decided() -> None:
    seen = Sight(RUNNING, report=exited("landed", code=0))
    step = next_step(view(job(S.SAVING), attempt(landing_since=ago(seconds=9), landing_why="budget"), seen))
    assert isinstance(step, Wait)
    assert step.has_failed


def test_a_pod_that_was_not_ordered_to_land_cannot_say_that_it_did() -> None:
    seen = Sight(RUNNING, report=exited("landed", code=0), has_artifacts=True)
    step = next_step(view(job(S.TRAINING), attempt(), seen))
    assert isinstance(step, BeginTermination)
    assert step.reason == R.TRAINER_ERROR


def test_an_attempt_that_breaks_while_it_lands_is_not_tried_again() -> None:
    lands = attempt(landing_since=ago(seconds=9), landing_why="budget", terminate_calls=1)
    step = next_step(view(job(S.TERMINATING, end_reason=R.MACHINE_LOST, end_detail="gone"), lands, Sight(Gone())))
    assert isinstance(step, EndAttempt)
    assert (step.status, step.reason, step.retry_at) == (S.FAILED, R.BUDGET_EXHAUSTED, None)
    assert step.detail == "While landing: gone"


def test_a_trainer_that_lands_makes_no_progress_and_may() -> None:
    silent = report(phase="training", last_progress_at=ago(hours=1), step=7)
    step = next_step(
        view(job(S.TRAINING), attempt(landing_since=NOW, landing_why="budget"), Sight(RUNNING, report=silent))
    )
    assert isinstance(step, Wait)


@given(left=st.integers(0, 600), failures=st.integers(0, 50), lands=st.booleans(), is_asked=st.booleans())
def test_no_wait_goes_past_the_moment_at_which_the_money_is_gone(
    left: int, failures: int, *, lands: bool, is_asked: bool
) -> None:
    """Whoever is silent, and however long the pauses have grown."""
    tried = attempt(landing_since=ago(seconds=5), landing_why="budget") if lands else attempt()
    seen = Sight(UNKNOWN, report=report() if is_asked else None)
    row = job(S.TRAINING, budget_micro_usd=_worth(seconds=left), check_failures=failures)
    step = next_step(view(row, tried, seen))
    if isinstance(step, Wait):
        # A micro-dollar buys 3.6 ms.
        assert step.after <= max(timedelta(seconds=left) - POLICY.budget_tick, timedelta(0)) + timedelta(
            milliseconds=30
        )
    else:
        assert _is_about_money(step)


@pytest.mark.parametrize("price", [0, 1])
def test_any_budget_at_any_price_is_reckoned_with(price: int) -> None:
    tried = attempt(price_micro_usd_per_hour=price)
    assert isinstance(next_step(_trains(tried=tried, budget_micro_usd=10**15)), Wait)


def _is_about_money(step: Step) -> bool:
    if isinstance(step, BeginTermination):
        return step.reason == R.BUDGET_EXHAUSTED
    return isinstance(step, OrderLanding | EnterPhase)


def _under_a_limit(limit: int, *, committed: int, held: int) -> View:
    levels = (
        levels_of("user-00000000000000aa", "p")[0],
        Level(LevelKind.PROJECT, "user-00000000000000aa", "p", limit, committed),
    )
    book = Book(JOB, budget=10 * HOURLY, levels=levels)
    book.reserve(1, amount=COST + held, at=NOW)
    book.accrue(1, total=COST, at=NOW)
    book.drawn = 0
    return _trains(landing_seconds=60, book=book)


def test_what_the_project_has_left_counts_like_the_jobs_own_budget() -> None:
    rich = _under_a_limit(20 * HOURLY, committed=0, held=10)
    poor = _under_a_limit(HOURLY, committed=HOURLY - 5_000, held=10)
    assert funds(rich) == 10 * HOURLY - COST
    assert funds(poor) == MicroUsd(5_010)
    step = next_step(poor)
    assert isinstance(step, OrderLanding)
    assert "of project 'p' are free" in step.detail


def test_a_limit_that_was_lowered_takes_nothing_from_what_is_held() -> None:
    lowered = _under_a_limit(1, committed=5 * HOURLY, held=100_000)
    assert funds(lowered) == 100_000
    assert budget_exhausted(lowered) is None


def test_so_much_is_held_ahead_that_a_top_up_that_finds_nothing_leaves_time_to_land() -> None:
    seen = _trains(landing_seconds=60, budget_micro_usd=_worth(hours=9))
    least = cost_of(timedelta(seconds=90) + POLICY.budget_tick, HOURLY)
    assert reserve_ahead(seen) >= least
    book = Book(JOB, budget=10 * HOURLY, levels=levels_of("user", "p"))
    book.reserve(1, amount=100, at=NOW)
    book.top_up(1, least=1_000, wanted=5_000, at=NOW)
    assert book.held_by(1) == 100  # without limits nobody else draws from the budget
    book.levels = (book.levels[0], Level(LevelKind.PROJECT, "user", "p", limit=3_000, committed=100))
    book.drawn = 0
    book.top_up(1, least=1_000, wanted=5_000, at=NOW)
    assert book.held_by(1) == 3_000

"""Each watchdog by its own clock: it sleeps until its patience is over, and bites then."""

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from stoker_deployer.jobs.running import RUNNING_RULES
from stoker_deployer.jobs.steps import BeginTermination, Step, TellStall, TerminateMachine, Wait
from stoker_deployer.jobs.transitions import next_step
from stoker_deployer.jobs.view import Sight
from stoker_deployer.jobs.watchdogs import WATCHDOGS
from stoker_deployer.providers import Gone, Unknown
from stoker_shared.clock import ManualClock
from stoker_shared.rpc.metrics import LossTrouble
from tests.unit.deployer.rows import NOW, POLICY, attempt, job, report, view
from tests.unit.deployer.situations import QUEUED_THERE, RUNNING, WITHOUT_MACHINE, R, S

HOUR, SECOND = timedelta(hours=1), timedelta(seconds=1)


@dataclass
class Watch:
    """A job that goes well at `NOW`, when the last sign of this kind comes."""

    name: str
    status: Any
    patience: timedelta
    reason: Any
    said: dict[str, Any] | None = None
    tried: dict[str, Any] = field(default_factory=dict)
    sight: Any = RUNNING


TRAINS = {"phase": "training", "phase_since": NOW - HOUR}
WATCHES = [
    Watch(
        "stuck provisioning",
        S.PROVISIONING,
        POLICY.provision_timeout,
        R.START_TIMED_OUT,
        tried={**WITHOUT_MACHINE.model_dump(), "intent_at": NOW, "absent_since": NOW - HOUR},
        sight=Gone(),
    ),
    Watch(
        "stuck starting",
        S.STARTING,
        POLICY.start_timeout,
        R.START_TIMED_OUT,
        said={"last_heard_at": None},
        tried={"billing_started_at": NOW},
    ),
    Watch(
        "heartbeat lost",
        S.TRAINING,
        POLICY.heartbeat_timeout,
        R.HEARTBEAT_LOST,
        {**TRAINS, "last_progress_at": NOW, "last_heard_at": NOW},
    ),
    Watch(
        "stuck preparing",
        S.PREPARING,
        POLICY.preparing_timeout,
        R.NO_PROGRESS,
        {"phase": "preparing", "phase_since": NOW, "last_heard_at": None},
    ),
    Watch(
        "no progress",
        S.TRAINING,
        POLICY.no_progress_timeout,
        R.NO_PROGRESS,
        {**TRAINS, "last_progress_at": NOW, "last_heard_at": None},
    ),
    Watch(
        "no progress",
        S.TRAINING,
        POLICY.no_progress_timeout,
        R.NO_PROGRESS,
        {"phase": "training", "phase_since": NOW, "last_heard_at": None},
    ),
    Watch(
        "stuck saving",
        S.SAVING,
        POLICY.saving_timeout,
        R.NO_PROGRESS,
        {"phase": "saving", "phase_since": NOW, "last_heard_at": None},
    ),
]


def step_at(watch: Watch, now: datetime, **changes: Any) -> Step:
    """What is decided at a moment when nothing has come since `NOW`."""
    row = job(watch.status, max_duration_seconds=10**9, budget_micro_usd=10**12)
    seen = Sight(watch.sight, report=report(**(watch.said or {})))
    return next_step(replace(view(row, attempt(**watch.tried), seen), now=now, **changes))


@pytest.mark.parametrize("watch", WATCHES, ids=lambda watch: watch.name)
def test_it_sleeps_until_its_patience_is_over_and_bites_then(watch: Watch) -> None:
    clock = ManualClock(NOW)
    clock.advance(watch.patience - SECOND)
    assert not isinstance(step_at(watch, clock.now()), BeginTermination)
    clock.advance(SECOND)
    step = step_at(watch, clock.now())
    assert isinstance(step, BeginTermination)
    assert step.reason == watch.reason
    assert step.detail


@pytest.mark.parametrize("watch", WATCHES[1:], ids=lambda watch: watch.name)
def test_time_in_which_nobody_listened_does_not_count(watch: Watch) -> None:
    late = NOW + watch.patience
    assert not isinstance(step_at(watch, late, watching_since=late - SECOND), BeginTermination)
    missed = replace(watch, tried={**watch.tried, "report_missed_at": late - SECOND})
    assert not isinstance(step_at(missed, late), BeginTermination)


@pytest.mark.parametrize("watch", WATCHES[1:], ids=lambda watch: watch.name)
def test_a_clock_that_goes_back_ends_nothing(watch: Watch) -> None:
    assert not isinstance(step_at(watch, NOW - 10 * HOUR), BeginTermination)


def test_each_watchdog_is_tested_and_stands_in_the_rules() -> None:
    assert {watch.name for watch in WATCHES} == {watchdog.name for watchdog in WATCHDOGS}
    assert set(WATCHDOGS[1:]) <= set(RUNNING_RULES)


def test_a_machine_that_waits_for_its_turn_at_the_provider_may_take_its_time() -> None:
    watch = replace(WATCHES[1], sight=QUEUED_THERE)
    assert isinstance(step_at(watch, NOW + 100 * POLICY.start_timeout), Wait)


@pytest.mark.parametrize(("kind", "reason"), [("diverging", R.LOSS_DIVERGED), ("non_finite", R.NON_FINITE_LOSS)])
def test_a_loss_in_trouble_ends_the_attempt_with_the_numbers(kind: Any, reason: Any) -> None:
    trouble = LossTrouble(kind=kind, at=NOW, step=7, detail="The loss was 9.")
    seen = Sight(Unknown("no answer"), report=report(**TRAINS, loss_trouble=trouble))
    assert next_step(view(job(S.TRAINING), attempt(), seen)) == BeginTermination(reason, "The loss was 9.")
    assert not reason.ending.is_retryable


def test_a_machine_that_does_not_go_is_told_of_after_a_while_and_each_hour() -> None:
    def step(after: timedelta, *, told: timedelta | None = None, machine: Any = RUNNING) -> Step:
        row = job(S.TERMINATING, end_reason=R.CANCELLED_BY_USER)
        tried = attempt(terminating_since=NOW, terminate_calls=7, stall_told_at=None if told is None else NOW + told)
        return next_step(replace(view(row, tried, Sight(machine)), now=NOW + after))

    first, every = POLICY.terminate_stalled_after, POLICY.terminate_stalled_every
    assert isinstance(step(first - SECOND), TerminateMachine)
    said = step(first)
    assert isinstance(said, TellStall)
    assert "told to go 7 times" in said.detail
    assert isinstance(step(first + SECOND, told=first), TerminateMachine)
    assert isinstance(step(first + every - SECOND, told=first), TerminateMachine)
    assert isinstance(step(first + every, told=first), TellStall)
    assert "no answer" in getattr(step(first, machine=Unknown("no answer")), "detail", "")
    assert not isinstance(step(first, machine=Gone()), TellStall)

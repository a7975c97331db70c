"""Landing: before money or time are gone the trainer is told to store what it has; when they are, the machine goes.

Two moments for each of them: from `time left <= time to land` on the order to land stands, and at the end of the time
the attempt is terminated whatever the trainer does.
"""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

from stoker_deployer.jobs.steps import BeginTermination, LandingWhy, OrderLanding, Step, Wait
from stoker_deployer.jobs.view import View
from stoker_shared.job_state import EndReason, JobStatus
from stoker_shared.money import MicroUsd, cost_of, show_usd

LANDED = "landed"
"""What a trainer says that stopped because it was ordered to land."""

_ENDS: dict[LandingWhy, tuple[EndReason, EndReason]] = {
    "budget": (EndReason.BUDGET_LANDED, EndReason.BUDGET_EXHAUSTED),
    "duration": (EndReason.DURATION_LANDED, EndReason.MAX_DURATION_REACHED),
}
_HOUR_IN_MICROSECONDS = 3_600_000_000
# A large budget at a small price buys more time than a timedelta can hold.
_LONGEST = timedelta(days=36_500)
_SHORTEST_WAIT = timedelta(milliseconds=20)


def end_of_landing(why: str, *, has_stored: bool) -> EndReason:
    """How an attempt ends that was ordered to land."""
    landed, failed = _ENDS["duration" if why == "duration" else "budget"]
    return landed if has_stored else failed


def budget_exhausted(view: View) -> Step | None:
    """Less than one tick of machine time is left in one of the budgets: end the machine now."""
    if view.price == 0 or view.attempt.billing_started_at is None:
        return None
    if funds(view) > cost_of(view.policy.budget_tick, view.price):
        return None
    return BeginTermination(EndReason.BUDGET_EXHAUSTED, _money_told(view))


def duration_exceeded(view: View) -> Step | None:
    """The job ran as long as it may."""
    left = duration_left(view)
    if left is None or left > timedelta(0):
        return None
    limit = timedelta(seconds=view.job.max_duration_seconds)
    return BeginTermination(EndReason.MAX_DURATION_REACHED, f"The machine ran {limit - left}, allowed are {limit}.")


def landing_due(view: View) -> Step | None:
    """What is left is what landing takes: order it, once."""
    if view.attempt.landing_since is not None or view.job.state == JobStatus.SAVING:
        return None
    for why, left, margin in _limits(view):
        if left <= time_to_land(view, why) + margin:
            return OrderLanding(why, deadline=view.now + left - margin, detail=_told(view, why, left))
    return None


def look_in_time(view: View, wait: Wait) -> Wait:
    """A wait that ends before the next moment at which money or time call for something, whoever may be silent."""
    if wait.after <= timedelta(0):
        return wait
    soonest = min((moment for moment in _moments(view) if moment > timedelta(0)), default=wait.after)
    return replace(wait, after=min(wait.after, max(soonest, _SHORTEST_WAIT)))


def funds(view: View) -> MicroUsd:
    """What the attempt may still cost from now on, by the tightest of the budgets."""
    book, number = view.snapshot.book, view.attempt.number
    owed = view.cost - book.spent_by(number)
    of_job = book.budget - book.spent - owed
    if book.free_above is None:
        return MicroUsd(of_job)
    # A limit that was lowered below what is held takes nothing back from an attempt that runs.
    return MicroUsd(min(of_job, book.held_by(number) - owed + max(book.free_above, 0)))


def money_left(view: View) -> timedelta | None:
    """For how long the funds last; None if the machine costs nothing (yet)."""
    if view.price == 0 or view.attempt.billing_started_at is None:
        return None
    return _machine_time(max(funds(view), 0), view.price)


def duration_left(view: View) -> timedelta | None:
    """How long the job may still run; None before its machine runs."""
    started = view.attempt.billing_started_at
    if started is None:
        return None
    ran = view.snapshot.ran_before + (view.now - started)
    return timedelta(seconds=view.job.max_duration_seconds) - ran


def time_to_land(view: View, why: LandingWhy) -> timedelta:
    """From the order to a stored model: as measured on this machine, else what is usual, else a quarter of it all."""
    measured = view.sight.report.landing_seconds if view.sight.report else None
    if measured is not None and measured > 0:
        return timedelta(seconds=measured) * view.policy.landing_safety
    return min(view.policy.landing_default, _whole(view, why) / 4)


def reserve_ahead(view: View) -> MicroUsd:
    """What must be reserved beyond the present cost, so that a top-up that fails leaves enough to land."""
    until_next_look = view.policy.budget_tick + 2 * view.policy.accrue_every
    return cost_of(time_to_land(view, "budget") + until_next_look, view.price)


def _limits(view: View) -> Iterator[tuple[LandingWhy, timedelta, timedelta]]:
    # What is limited, the time left, and how long before its end the machine must be told to go.
    if (left := money_left(view)) is not None:
        yield "budget", left, view.policy.budget_tick
    if (left := duration_left(view)) is not None:
        yield "duration", left, timedelta(0)


def _moments(view: View) -> Iterator[timedelta]:
    for why, left, margin in _limits(view):
        yield left - margin
        if view.attempt.landing_since is None:
            yield left - margin - time_to_land(view, why)


def _whole(view: View, why: LandingWhy) -> timedelta:
    if why == "duration":
        return timedelta(seconds=view.job.max_duration_seconds) - view.snapshot.ran_before
    return _machine_time(max(funds(view) + view.cost, 0), view.price)


def _machine_time(amount: int, price: MicroUsd) -> timedelta:
    if price == 0:
        return _LONGEST
    return timedelta(microseconds=min(amount * _HOUR_IN_MICROSECONDS // price, _LONGEST // timedelta(microseconds=1)))


def _told(view: View, why: LandingWhy, left: timedelta) -> str:
    reserve = _seconds(time_to_land(view, why))
    measured = view.sight.report is not None and view.sight.report.landing_seconds is not None
    basis = "measured" if measured else "assumed"
    spent = f"; {_money_told(view)}" if why == "budget" else ""
    return f"Landing: {_seconds(left)} of machine time are left, landing takes {reserve} ({basis}){spent}"


def _money_told(view: View) -> str:
    book, budget = view.snapshot.book, view.job.budget_micro_usd
    spent = book.spent - book.spent_by(view.job.attempt) + view.cost
    told = f"{show_usd(spent)} of {show_usd(budget)} are spent."
    above = book.free_above
    if above is None or funds(view) >= budget - spent:
        return told
    tightest = min((level for level in book.levels if level.free is not None), key=lambda level: level.free or 0)
    return f"{told} {tightest}."


def _seconds(span: timedelta) -> str:
    return f"{span.total_seconds():.0f} s"

"""The rules of a job's life: a pure function from what is seen to the one next step. No input, no output, no clock."""

from collections.abc import Callable
from datetime import datetime, timedelta

from stoker_deployer.jobs.environment import environment_faults
from stoker_deployer.jobs.running import RUNNING_RULES, billing_began, cannot_ask, first_step
from stoker_deployer.jobs.steps import (
    BeginAttempt,
    BeginTermination,
    EndAttempt,
    EndQueued,
    LaunchMachine,
    RecordMachine,
    Step,
    TerminateMachine,
    Wait,
)
from stoker_deployer.jobs.view import View
from stoker_deployer.providers import Gone, Machine, Unknown
from stoker_shared.job_state import EndReason, JobStatus
from stoker_shared.money import MicroUsd, cost_of, show_usd


def next_step(view: View) -> Step:
    """The one thing to do next. Unknown is never treated as no: what cannot be asked leads to a `Wait`.

    Raises:
        KeyError: the job has ended; nothing is to be done.
    """
    return _RULES[view.job.state](view)


def _queued(view: View) -> Step:
    job, now = view.job, view.now
    if view.snapshot.cancellation:
        return EndQueued(EndReason.CANCELLED_BY_USER, view.snapshot.cancellation.why)
    if job.next_attempt_at and job.next_attempt_at > now:
        return Wait(job.next_attempt_at - now, "the next attempt is not due")
    if faults := environment_faults(job.launch.environment):
        return EndQueued(EndReason.PROVIDER_REFUSED, faults)
    return _begin_attempt(view)


def _begin_attempt(view: View) -> Step:
    number = view.job.attempt + 1
    offer = view.job.offer_of(number)
    if offer.provider not in view.providers:
        configured = ", ".join(sorted(view.providers)) or "none"
        return EndQueued(
            EndReason.PROVIDER_REFUSED, f"Provider {offer.provider!r} is not configured (configured: {configured})."
        )
    price, left = MicroUsd(offer.price_micro_usd_per_hour), view.snapshot.book.budget_left
    tick = cost_of(view.policy.budget_tick, price)
    if left < tick:
        return EndQueued(
            EndReason.BUDGET_NOT_COVERED,
            f"{show_usd(left)} of {show_usd(view.job.budget_micro_usd)} are left; attempt {number} needs at least "
            f"{show_usd(tick)} at {show_usd(price)} per hour.",
        )
    wanted = max(tick, cost_of(view.policy.reservation, price))
    return BeginAttempt(number, offer, MicroUsd(min(left, wanted)))


def _provisioning(view: View) -> Step:
    if view.snapshot.cancellation:
        return BeginTermination(EndReason.CANCELLED_BY_USER, view.snapshot.cancellation.why)
    if view.is_fresh_intent:
        return LaunchMachine()
    if view.sight.found:
        return _record(view)
    if view.now - view.attempt.intent_at >= view.policy.start_timeout:
        return BeginTermination(EndReason.START_TIMED_OUT, _why_no_machine(view))
    return _absent_for_certain(view) or LaunchMachine()


def _terminating(view: View) -> Step:
    if view.attempt.refused_at:
        return _end_attempt(view)
    if view.attempt.handle is None:
        # The outcome of the launch may be unknown: a machine may appear under our name.
        return _record(view) if view.sight.found else _absent_for_certain(view) or _end_attempt(view)
    if step := billing_began(view):
        return step
    if isinstance(view.sight.machine, Unknown):
        return cannot_ask(view, view.sight.machine.why)
    if isinstance(view.sight.machine, Gone):
        return _end_attempt(view)
    return TerminateMachine(after=_terminate_pause(view))


def _running(view: View) -> Step:
    return first_step(RUNNING_RULES, view) or Wait(view.calm_pause or view.policy.active_check, "all is well")


_RULES: dict[JobStatus, Callable[[View], Step]] = {
    JobStatus.QUEUED: _queued,
    JobStatus.PROVISIONING: _provisioning,
    JobStatus.STARTING: _running,
    JobStatus.PREPARING: _running,
    JobStatus.TRAINING: _running,
    JobStatus.SAVING: _running,
    JobStatus.TERMINATING: _terminating,
}


def _record(view: View) -> Step:
    # Several machines of one name: keep one that lives, the oldest handle first, so that all replicas choose alike.
    kept, *surplus = sorted(view.sight.found, key=lambda found: (isinstance(found.state, Gone), found.handle))
    return RecordMachine(kept, tuple(found for found in surplus if _may_live(found)))


def _may_live(machine: Machine) -> bool:
    return not isinstance(machine.state, Gone)


def _absent_for_certain(view: View) -> Step | None:
    # A launch whose answer was lost may take effect a little later: one look is not enough.
    if isinstance(view.sight.machine, Unknown):
        return cannot_ask(view, view.sight.machine.why)
    since, pause = view.attempt.absent_since, view.policy.absence_pause
    if since is None:
        return Wait(pause, "no machine found; looking once more", noted={"absent_since": view.now})
    remaining = since + pause - view.now
    return Wait(remaining, "no machine found; looking once more") if remaining > timedelta(0) else None


def _why_no_machine(view: View) -> str:
    machine = view.sight.machine
    seen = machine.why if isinstance(machine, Unknown) else "it has none of that name"
    return (
        f"No machine {view.attempt.machine_name} within {view.policy.start_timeout}; {view.attempt.provider}: {seen}."
    )


def _terminate_pause(view: View) -> timedelta:
    policy, calls = view.policy, view.attempt.terminate_calls
    if calls == 0:
        return timedelta(0)
    grown: timedelta = policy.terminate_retry * 2 ** min(calls - 1, 20)
    return min(grown, policy.terminate_retry_max)


def _end_attempt(view: View) -> EndAttempt:
    job = view.job
    reason, detail = job.reason or EndReason.TRAINER_ERROR, job.end_detail
    if not reason.ending.is_retryable:
        return EndAttempt(reason.ending.status, reason, detail)
    if view.snapshot.cancellation:
        return EndAttempt(JobStatus.CANCELLED, EndReason.CANCELLED_BY_USER, view.snapshot.cancellation.why)
    if job.attempt >= job.max_attempts:
        return EndAttempt(
            reason.ending.status, reason, f"{detail} Attempt {job.attempt} of {job.max_attempts}.".strip()
        )
    return EndAttempt(JobStatus.QUEUED, reason, detail, retry_at=_retry_at(view))


def _retry_at(view: View) -> datetime:
    grown: timedelta = view.policy.retry_delay * 2 ** (view.job.attempt - 1)
    return view.now + min(grown, view.policy.retry_delay_max)

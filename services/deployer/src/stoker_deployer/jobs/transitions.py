"""The rules of a job's life: a pure function from what is seen to the one next step. No input, no output, no clock."""

from collections.abc import Callable
from datetime import timedelta

from stoker_deployer.jobs.covering import begin_covered
from stoker_deployer.jobs.environment import environment_faults
from stoker_deployer.jobs.landing import look_in_time
from stoker_deployer.jobs.running import RUNNING_RULES, billing_began, cannot_ask, first_step
from stoker_deployer.jobs.steps import (
    BeginTermination,
    EndQueued,
    LaunchMachine,
    RecordMachine,
    Step,
    TerminateMachine,
    Wait,
)
from stoker_deployer.jobs.view import View
from stoker_deployer.jobs.watchdogs import STUCK_PROVISIONING, termination_stalled
from stoker_deployer.providers import Exited, Gone, Machine, Unknown
from stoker_deployer.retrying.deciding import after_attempt
from stoker_deployer.retrying.offers import Cooling, NoOffer, choose_offer
from stoker_shared.job_state import EndReason, JobStatus


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
    match found := choose_offer(view):
        case NoOffer():
            return EndQueued(found.reason, found.detail)
        case Cooling():
            return Wait(found.until - view.now, found.why, postponed_to=found.until)
    return begin_covered(view, found)


def _provisioning(view: View) -> Step:
    if view.snapshot.cancellation:
        return BeginTermination(EndReason.CANCELLED_BY_USER, view.snapshot.cancellation.why)
    if view.is_fresh_intent:
        return LaunchMachine()
    if view.sight.found:
        return _record(view)
    if step := STUCK_PROVISIONING(view):
        return step
    return _absent_for_certain(view) or LaunchMachine()


def _terminating(view: View) -> Step:
    is_gone = view.attempt.refused_at is not None or isinstance(view.sight.machine, Gone)
    return (None if is_gone else termination_stalled(view)) or _release(view)


def _release(view: View) -> Step:
    if view.attempt.refused_at:
        return after_attempt(view)
    if view.attempt.handle is None:
        # The outcome of the launch may be unknown: a machine may appear under our name.
        return _record(view) if view.sight.found else _absent_for_certain(view) or after_attempt(view)
    if step := billing_began(view) or _machine_costs_on(view):
        return step
    if isinstance(view.sight.machine, Unknown):
        return cannot_ask(view, view.sight.machine.why)
    # Gone is believed once somebody has asked for its end; before that it would be a surprise, told once.
    if isinstance(view.sight.machine, Gone) and view.attempt.terminate_calls > 0:
        return after_attempt(view)
    return TerminateMachine(after=_terminate_pause(view))


def _machine_costs_on(view: View) -> Step | None:
    # A provider said that it had ended, and says now that it has not.
    machine = view.sight.machine
    is_dated = isinstance(machine, Exited) and machine.ended_at is not None
    if view.attempt.billing_ended_at is None or is_dated or isinstance(machine, Gone | Unknown):
        return None
    return Wait(timedelta(0), "the machine costs money after all", noted={"billing_ended_at": None})


def _running(view: View) -> Step:
    step = first_step(RUNNING_RULES, view) or Wait(view.calm_pause or view.policy.active_check, "all is well")
    return look_in_time(view, step) if isinstance(step, Wait) else step


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


def _terminate_pause(view: View) -> timedelta:
    policy, calls = view.policy, view.attempt.terminate_calls
    if calls == 0:
        return timedelta(0)
    grown: timedelta = policy.terminate_retry * 2 ** min(calls - 1, 20)
    return min(grown, policy.terminate_retry_max)

"""Keep-alive: after a success the machine stays for as long as the launch asked for. The success stands meanwhile."""

from datetime import timedelta

from stoker_deployer.jobs.landing import budget_exhausted, duration_exceeded
from stoker_deployer.jobs.steps import BeginTermination, Step, Wait
from stoker_deployer.jobs.view import View
from stoker_deployer.providers import Exited, Gone
from stoker_shared.job_state import EndReason


def keep_or_end(view: View, message: str) -> Step:
    """What follows a success whose model is stored. `attempt.succeeded_at` is when that was seen first.

    The stay ends early when the user cancels, when money or time are used up, and when there is no machine any more:
    each time as a success. What nobody answers ends nothing.
    """
    left = keep_left(view)
    if left <= timedelta(0) or _is_cut_short(view):
        return BeginTermination(EndReason.SUCCESS, message)
    if view.attempt.succeeded_at is None:
        return Wait(timedelta(0), "the machine stays after its success", noted={"succeeded_at": view.now})
    pause = view.calm_pause or view.policy.active_check
    return Wait(min(left, pause), "the machine stays after its success, as asked for")


def keep_left(view: View) -> timedelta:
    """For how long the machine is to stay from now on; not positive when its time is over."""
    asked = timedelta(seconds=view.job.launch.keep_alive_seconds)
    since = view.attempt.succeeded_at or view.now
    return since + asked - view.now


def _is_cut_short(view: View) -> bool:
    has_no_machine = isinstance(view.sight.machine, Gone | Exited)
    is_used_up = budget_exhausted(view) is not None or duration_exceeded(view) is not None
    return has_no_machine or is_used_up or view.snapshot.cancellation is not None

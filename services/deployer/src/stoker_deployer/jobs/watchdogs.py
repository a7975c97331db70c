"""Watchdogs: what ends a machine on which nothing happens, as a table. Each has a clock and a patience of its own.

Two more stand elsewhere, since money is their measure: the budget and the longest run (`running.py`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from stoker_deployer.jobs.steps import BeginTermination, Step, TellStall
from stoker_deployer.jobs.view import View
from stoker_deployer.providers import Alive, AliveKind, Unknown
from stoker_shared.job_state import EndReason, JobStatus
from stoker_shared.rpc.metrics import AttemptReport

_S = JobStatus


@dataclass(frozen=True, slots=True)
class Watchdog:
    """Ends an attempt that has been in one of `statuses` without a sign of life for `patience`.

    `last_sign` is its clock: when the last sign came; None: there is nothing to watch. `clock` says it in words.
    `patience` is the name of its threshold in `Policy` and in the settings.
    """

    name: str
    statuses: frozenset[JobStatus]
    clock: str
    last_sign: Callable[[View], datetime | None]
    patience: str
    reason: EndReason
    detail: Callable[[View], str]
    is_deaf_with_us: bool = True
    """Signs reach us through others, so time in which nobody of us listened does not count."""

    def __call__(self, view: View) -> Step | None:
        """As a rule: the end, if the patience is over."""
        if view.job.state not in self.statuses or (since := self.last_sign(view)) is None:
            return None
        since = counted_from(view, since) if self.is_deaf_with_us else since
        patience: timedelta = getattr(view.policy, self.patience)
        if view.now - since < patience:
            return None
        return BeginTermination(self.reason, self.detail(view))


def counted_from(view: View, moment: datetime) -> datetime:
    """From when silence counts: while the metrics service was away, or nobody of us watched, no pod was heard."""
    return max(moment, view.watching_since, view.attempt.report_missed_at or moment)


def loss_in_trouble(view: View) -> Step | None:
    """The metrics service has judged the loss; what was uploaded of checkpoints stays."""
    trouble = view.sight.report.loss_trouble if view.sight.report else None
    return BeginTermination(LOSS_REASONS[trouble.kind], trouble.detail) if trouble else None


def termination_stalled(view: View) -> Step | None:
    """A machine that does not go cannot be given up: the job stays, and this is told again and again."""
    attempt, policy = view.attempt, view.policy
    since = attempt.terminating_since
    if since is None or view.now - since < policy.terminate_stalled_after:
        return None
    if attempt.stall_told_at is not None and view.now - attempt.stall_told_at < policy.terminate_stalled_every:
        return None
    machine = attempt.handle or attempt.machine_name
    seen = view.sight.machine.why if isinstance(view.sight.machine, Unknown) else "it is still there"
    return TellStall(
        f"Machine {machine} at {attempt.provider} is not known to be gone since {_time(since)}: {seen}. It was told "
        f"to go {attempt.terminate_calls} times and may cost money. Stoker goes on trying; look at it at the provider."
    )


LOSS_REASONS: dict[str, EndReason] = {
    "diverging": EndReason.LOSS_DIVERGED,
    "non_finite": EndReason.NON_FINITE_LOSS,
}


def _intent(view: View) -> datetime:
    return view.attempt.intent_at


def _machine_began(view: View) -> datetime | None:
    machine, attempt = view.sight.machine, view.attempt
    if isinstance(machine, Alive) and machine.kind == AliveKind.QUEUED:
        return None  # it waits at the provider and costs nothing
    return attempt.billing_started_at or attempt.launched_at or attempt.intent_at


def _heard(view: View) -> datetime | None:
    return _report(view).last_heard_at


def _phase_entered(view: View) -> datetime | None:
    return _report(view).phase_since


def _step_rose(view: View) -> datetime | None:
    if view.attempt.landing_since is not None:
        return None  # it was told to stop, and has its own deadline
    # Before the first step the phase is what began.
    return _report(view).last_progress_at or _report(view).phase_since


def _report(view: View) -> AttemptReport:
    return view.sight.report or AttemptReport(job_id=view.job.job_id, attempt=view.attempt.number)


def _no_machine(view: View) -> str:
    machine, attempt = view.sight.machine, view.attempt
    seen = machine.why if isinstance(machine, Unknown) else "it has none of that name"
    return f"No machine {attempt.machine_name} within {view.policy.provision_timeout}; {attempt.provider}: {seen}."


def _stands_still(view: View) -> str:
    return f"Step {_report(view).step} since {_time(_step_rose(view))}."


def _lasts(view: View) -> str:
    return f"The pod is {view.job.status} since {_time(_phase_entered(view))}."


def _time(moment: datetime | None) -> str:
    return moment.isoformat(timespec="seconds") if moment else "never"


STUCK_PROVISIONING = Watchdog(
    "stuck provisioning",
    frozenset({_S.PROVISIONING}),
    "the intent of the attempt",
    _intent,
    "provision_timeout",
    EndReason.START_TIMED_OUT,
    _no_machine,
    is_deaf_with_us=False,
)
RUNNING_WATCHDOGS: tuple[Watchdog, ...] = (
    Watchdog(
        "stuck starting",
        frozenset({_S.STARTING}),
        "the machine began to cost",
        _machine_began,
        "start_timeout",
        EndReason.START_TIMED_OUT,
        lambda view: f"No word of the pod within {view.policy.start_timeout}.",
    ),
    Watchdog(
        "heartbeat lost",
        frozenset({_S.STARTING, _S.PREPARING, _S.TRAINING, _S.SAVING}),
        "any report of the pod",
        _heard,
        "heartbeat_timeout",
        EndReason.HEARTBEAT_LOST,
        lambda view: f"Last heard of at {_time(_heard(view))}.",
    ),
    Watchdog(
        "stuck preparing",
        frozenset({_S.PREPARING}),
        "the phase began",
        _phase_entered,
        "preparing_timeout",
        EndReason.NO_PROGRESS,
        _lasts,
    ),
    Watchdog(
        "no progress",
        frozenset({_S.TRAINING}),
        "the step rose, or training began",
        _step_rose,
        "no_progress_timeout",
        EndReason.NO_PROGRESS,
        _stands_still,
    ),
    Watchdog(
        "stuck saving",
        frozenset({_S.SAVING}),
        "the phase began",
        _phase_entered,
        "saving_timeout",
        EndReason.NO_PROGRESS,
        _lasts,
    ),
)
WATCHDOGS: tuple[Watchdog, ...] = (STUCK_PROVISIONING, *RUNNING_WATCHDOGS)
"""All of them."""

"""Rules for a job that has a machine, as a table in order of precedence. Each rule is pure and may have no opinion."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from stoker_deployer.jobs.ceiling import price_above_ceiling
from stoker_deployer.jobs.keeping import keep_or_end
from stoker_deployer.jobs.landing import (
    LANDED,
    budget_exhausted,
    duration_exceeded,
    end_of_landing,
    landing_due,
)
from stoker_deployer.jobs.pod_reasons import reason_of
from stoker_deployer.jobs.steps import BeginTermination, EnterPhase, Step, Wait
from stoker_deployer.jobs.view import View
from stoker_deployer.jobs.watchdogs import RUNNING_WATCHDOGS, loss_in_trouble
from stoker_deployer.providers import Alive, AliveKind, Exited, Gone, Unknown
from stoker_shared.job_state import EndReason, JobStatus
from stoker_shared.rpc.metrics import Phase

Rule = Callable[[View], Step | None]

PHASE_STATUS: dict[Phase, JobStatus] = {
    "preparing": JobStatus.PREPARING,
    "training": JobStatus.TRAINING,
    "saving": JobStatus.SAVING,
}
_ORDER = (JobStatus.STARTING, JobStatus.PREPARING, JobStatus.TRAINING, JobStatus.SAVING)


def first_step(rules: Sequence[Rule], view: View) -> Step | None:
    """What the first rule that has an opinion says."""
    return next((step for rule in rules if (step := rule(view))), None)


def billing_began(view: View) -> Step | None:
    """The machine has begun to cost money."""
    machine = view.sight.machine
    if view.attempt.billing_started_at or isinstance(machine, Unknown):
        return None
    is_running = isinstance(machine, Alive) and machine.kind == AliveKind.RUNNING
    if machine.started_at is None and not is_running:
        return None
    # By the provider's clock, but never before we asked for the machine nor in the future.
    started = min(max(machine.started_at or view.now, view.attempt.intent_at), view.now)
    return Wait(timedelta(0), "the machine costs money from now on", noted={"billing_started_at": started})


def cannot_ask(view: View, why: str) -> Wait:
    """Somebody did not answer: do nothing, look again after a growing pause."""
    policy = view.policy
    pause = min(policy.active_check * 2 ** min(view.job.check_failures, 20), policy.failed_check_max)
    missed = {} if view.sight.report else {"report_missed_at": view.now}
    return Wait(pause, why, noted=missed, has_failed=True)


def _pod_succeeded(view: View) -> Step | None:
    said = view.sight.report.exit if view.sight.report else None
    if view.attempt.succeeded_at is not None:
        # Seen and stored: nobody's silence and no watchdog takes that back.
        return _phase_advanced(view) or keep_or_end(view, said.message if said else "The trainer reported success.")
    if said is None or reason_of(said) != EndReason.SUCCESS:
        return None
    if view.sight.has_artifacts is None:
        # Its machine may cost money for as long as the gateway is away, but not more than the budget.
        return budget_exhausted(view) or cannot_ask(
            view, "the dataset gateway does not tell whether the model is stored"
        )
    if view.sight.has_artifacts:
        return keep_or_end(view, said.message)
    if view.snapshot.cancellation:
        return None
    return BeginTermination(EndReason.ARTIFACTS_MISSING, f"The gateway has no file of attempt {view.job.attempt}.")


def _pod_landed(view: View) -> Step | None:
    said = view.sight.report.exit if view.sight.report else None
    # A pod cannot claim to have landed by itself.
    if said is None or said.reason != LANDED or view.attempt.landing_why is None:
        return None
    if view.sight.has_artifacts is None:
        return budget_exhausted(view) or cannot_ask(
            view, "the dataset gateway does not tell whether the model is stored"
        )
    if view.snapshot.cancellation and not view.sight.has_artifacts:
        return None
    stored = said.message if view.sight.has_artifacts else f"Nothing is stored: {said.message}"
    return BeginTermination(end_of_landing(view.attempt.landing_why, has_stored=view.sight.has_artifacts), stored)


def _cancel_requested(view: View) -> Step | None:
    wish = view.snapshot.cancellation
    return BeginTermination(EndReason.CANCELLED_BY_USER, wish.why) if wish else None


def _pod_failed(view: View) -> Step | None:
    said = view.sight.report.exit if view.sight.report else None
    if said is None:
        return None
    return BeginTermination(reason_of(said), said.message or f"Exit code {said.exit_code}, reason {said.reason!r}.")


def _machine_vanished(view: View) -> Step | None:
    if not isinstance(view.sight.machine, Gone):
        return None
    if view.attempt.absent_since is None:
        # The cost ends here unless the machine turns up again.
        return Wait(view.policy.absence_pause, "the machine is gone; looking again", noted={"absent_since": view.now})
    return _ended_silently(
        view,
        since=view.attempt.absent_since,
        grace=max(view.policy.exit_report_grace, view.policy.absence_pause),
        end=BeginTermination(EndReason.MACHINE_LOST, f"{view.attempt.provider} has no machine {view.attempt.handle}."),
    )


def _machine_exited(view: View) -> Step | None:
    machine = view.sight.machine
    if not isinstance(machine, Exited):
        return None
    if view.attempt.exited_since is None:
        pause = min(view.policy.active_check, view.policy.exit_report_grace)
        return Wait(pause, "the machine has ended without a report", noted={"exited_since": view.now})
    return _ended_silently(
        view,
        since=view.attempt.exited_since,
        grace=view.policy.exit_report_grace,
        end=_end_without_a_report(view, machine),
    )


def _end_without_a_report(view: View, machine: Exited) -> BeginTermination:
    if machine.exit_code is not None:
        return BeginTermination(EndReason.TRAINER_DIED, f"Exit code {machine.exit_code}, and no report of the trainer.")
    has_ended = f"The machine has ended{f' ({machine.note})' if machine.note else ''}"
    if view.sight.report is not None and view.sight.report.last_heard_at is None:
        return BeginTermination(
            EndReason.POD_SETUP_FAILED,
            f"{has_ended} before anything on it said a word: its image could not be started, or its host failed.",
        )
    return BeginTermination(EndReason.TRAINER_DIED, f"{has_ended}, and no report of the trainer.")


def _ended_silently(view: View, *, since: datetime, grace: timedelta, end: BeginTermination) -> Step:
    # A report may be on its way, and be it that it waits for the metrics service to come back.
    if view.sight.report is None:
        return cannot_ask(view, "the metrics service does not tell what the pod reported")
    remaining = max(since, view.attempt.report_missed_at or since) + grace - view.now
    if remaining > timedelta(0):
        return Wait(min(remaining, view.policy.active_check), "a report may be on its way")
    return end


def _machine_is_back(view: View) -> Step | None:
    attempt = view.attempt
    if not isinstance(view.sight.machine, Alive) or not (attempt.absent_since or attempt.exited_since):
        return None
    forgotten = dict.fromkeys(("absent_since", "exited_since", "billing_ended_at"))
    return Wait(timedelta(0), "the machine is there after all", noted=forgotten)


def _phase_advanced(view: View) -> Step | None:
    phase = view.sight.report.phase if view.sight.report else None
    if phase is None:
        return None
    status = PHASE_STATUS[phase]
    return EnterPhase(status) if _ORDER.index(status) > _ORDER.index(view.job.state) else None


def _someone_is_silent(view: View) -> Step | None:
    if view.sight.report is None:
        return cannot_ask(view, "the metrics service does not tell what the pod reported")
    return cannot_ask(view, view.sight.machine.why) if isinstance(view.sight.machine, Unknown) else None


RUNNING_RULES: tuple[Rule, ...] = (
    billing_began,
    _pod_succeeded,
    _pod_landed,
    _cancel_requested,
    _pod_failed,
    # Before all that waits for somebody's answer.
    budget_exhausted,
    _machine_vanished,
    _machine_exited,
    _machine_is_back,
    price_above_ceiling,
    duration_exceeded,
    landing_due,
    loss_in_trouble,
    _phase_advanced,
    # From here on it must be known how pod and machine are.
    _someone_is_silent,
    *RUNNING_WATCHDOGS,
)

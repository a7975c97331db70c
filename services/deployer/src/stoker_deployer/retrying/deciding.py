"""After an attempt: another one, or the end of the job. Pure, as all rules."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from stoker_deployer.jobs.landing import end_of_landing
from stoker_deployer.jobs.steps import EndAttempt
from stoker_deployer.jobs.view import View
from stoker_deployer.retrying.breaker import why_enough
from stoker_deployer.retrying.history import Past, history
from stoker_deployer.retrying.offers import NoOffer, usable_offers
from stoker_deployer.retrying.rules import RETRY, RetryRule
from stoker_shared.job_state import EndReason, JobStatus


def after_attempt(view: View) -> EndAttempt:
    """What follows an attempt whose machine is gone."""
    job = view.job
    reason, detail = job.reason or EndReason.TRAINER_ERROR, job.end_detail
    rule = RETRY.get(reason)
    if rule is None:
        return EndAttempt(reason.ending.status, reason, detail)
    if view.snapshot.cancellation:
        return EndAttempt(JobStatus.CANCELLED, EndReason.CANCELLED_BY_USER, view.snapshot.cancellation.why)
    if view.attempt.landing_why:
        # What was left was for landing; another attempt would only land again.
        landed = end_of_landing(view.attempt.landing_why, has_stored=False)
        return EndAttempt(JobStatus.FAILED, landed, f"While landing: {detail}")
    tried = history(view)
    if enough := _why_no_more(view, rule, tried):
        return EndAttempt(reason.ending.status, reason, f"{detail} {enough}".strip())
    if isinstance(usable := usable_offers(view, tried), NoOffer):
        # Nothing was wrong with the plan before this attempt: the attempt's own words say more.
        return EndAttempt(reason.ending.status, reason, detail if usable.reason == reason else usable.detail)
    return EndAttempt(JobStatus.QUEUED, reason, detail, retry_at=_retry_at(view, rule, tried))


def _why_no_more(view: View, rule: RetryRule, tried: Sequence[Past]) -> str:
    job, reason = view.job, tried[-1].reason
    spent = job.attempt - sum(not past.is_spent for past in tried)
    same = sum(past.reason == reason for past in tried)
    if rule.is_spent and spent >= job.max_attempts:
        return f"Attempt {spent} of {job.max_attempts}."
    if same >= rule.most:
        return f"That was try {same} of {rule.most} that end so."
    if reason == EndReason.OUT_OF_MEMORY and _per_device(view, tried[-1]) <= 1:
        return "One row on each device is the least."
    waited = view.now - job.created_at
    if reason == EndReason.NO_CAPACITY and waited >= view.policy.capacity_patience:
        return f"The job has waited for {waited}."
    return why_enough(view, tried)


def _per_device(view: View, past: Past) -> int:
    return past.attempt.per_device or view.job.launch.recipe.batch.per_device


def _retry_at(view: View, rule: RetryRule, tried: Sequence[Past]) -> datetime:
    if rule.delay == 0:
        return view.now
    before = view.job.attempt - 1 - sum(not past.is_spent for past in tried)
    grown: timedelta = rule.delay * view.policy.retry_delay * 2 ** min(before, 20)
    return view.now + min(grown, view.policy.retry_delay_max)

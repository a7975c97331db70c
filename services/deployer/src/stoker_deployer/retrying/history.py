"""What became of the attempts of a job so far, as the rules of retrying see it."""

from dataclasses import dataclass

from stoker_deployer.jobs.tables import Attempt
from stoker_deployer.jobs.view import View
from stoker_deployer.retrying.rules import RETRY
from stoker_deployer.retrying.tables import OfferKey, key_of
from stoker_shared.job_state import EndReason


@dataclass(frozen=True, slots=True)
class Past:
    """An attempt that is over, and why."""

    attempt: Attempt
    reason: EndReason
    detail: str

    @property
    def key(self) -> OfferKey:
        """The offer it took."""
        return key_of(self.attempt)

    @property
    def is_spent(self) -> bool:
        """Whether it counts against the job's `max_attempts`."""
        rule = RETRY.get(self.reason)
        return rule is None or rule.is_spent


def history(view: View) -> list[Past]:
    """All attempts that are over, the latest last. The present one counts as soon as it has a reason to end."""
    job, present = view.job, view.snapshot.attempt
    earlier = [_past(attempt, None, "") for attempt in view.snapshot.earlier]
    if present is None or (present.end_reason is None and job.reason is None):
        return earlier
    return [*earlier, _past(present, job.reason, job.end_detail)]


def _past(attempt: Attempt, reason: EndReason | None, detail: str) -> Past:
    said = EndReason(attempt.end_reason) if attempt.end_reason else reason or EndReason.TRAINER_ERROR
    return Past(attempt, said, attempt.end_detail or detail)

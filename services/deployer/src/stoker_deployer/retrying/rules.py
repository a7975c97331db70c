"""For each cause of a failed attempt: whether, where and how often it is tried again. A table that the rules walk."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from stoker_shared.job_state import EndReason


class Elsewhere(StrEnum):
    """Which offers the next attempt may take, seen from the one that failed."""

    ANYWHERE = "anywhere"  # the machine is not to blame
    IF_THERE_IS = "if_there_is"  # another offer first; the same one again when all have had their turn
    OTHER_OFFER = "other_offer"  # never this one again
    OTHER_PROVIDER = "other_provider"  # never this provider again
    NOT_SMALLER = "not_smaller"  # a GPU with as much memory or more


@dataclass(frozen=True, slots=True)
class RetryRule:
    """`most` attempts of a job may end for this cause, `in_a_row` without another cause between (the breaker).

    `delay` counts in `retry_delay`s, which double with each attempt; 0 is at once. `resume`: the next attempt goes on
    from the last checkpoint. An attempt that `is_spent` counts against the job's `max_attempts`.
    """

    elsewhere: Elsewhere
    delay: int = 1
    most: int = 20
    in_a_row: int | None = 3
    resume: bool = True
    is_spent: bool = True


_R, _E = EndReason, Elsewhere
# No machine was made, so nothing was spent; a limit of their own keeps them from going on for ever.
_REFUSED = RetryRule(_E.OTHER_PROVIDER, delay=0, most=8, in_a_row=None, is_spent=False)
_OWN = RetryRule(_E.OTHER_OFFER, most=2, in_a_row=2, resume=False)

RETRY: Mapping[EndReason, RetryRule] = {
    # Where to wait and where to go on is the cool-down's business.
    _R.NO_CAPACITY: RetryRule(_E.ANYWHERE, delay=0, most=20, in_a_row=None, is_spent=False),
    # Asked by the provider when the machine was there, which is released at once.
    _R.PRICE_ABOVE_CEILING: RetryRule(_E.OTHER_OFFER, delay=0, most=8, in_a_row=None, is_spent=False),
    _R.PROVIDER_AUTH_FAILED: _REFUSED,
    _R.PROVIDER_FUNDS: _REFUSED,
    _R.PROVIDER_REFUSED: _REFUSED,
    _R.START_TIMED_OUT: RetryRule(_E.IF_THERE_IS),
    _R.MACHINE_LOST: RetryRule(_E.IF_THERE_IS),
    _R.HEARTBEAT_LOST: RetryRule(_E.IF_THERE_IS),
    _R.NO_PROGRESS: RetryRule(_E.IF_THERE_IS, most=2),
    # A bad host, or no network there; an image without Python or a disk that is too small fails everywhere.
    _R.POD_SETUP_FAILED: RetryRule(_E.IF_THERE_IS, most=3, in_a_row=3),
    _R.TRAINER_DIED: RetryRule(_E.IF_THERE_IS),
    # A machine that is taken back says nothing about the job.
    _R.TRAINER_TERMINATED: RetryRule(_E.IF_THERE_IS, in_a_row=5),
    _R.DATASET_CHECKSUM_MISMATCH: RetryRule(_E.IF_THERE_IS),
    _R.ARTIFACT_UPLOAD_FAILED: RetryRule(_E.ANYWHERE),
    _R.ARTIFACTS_MISSING: RetryRule(_E.ANYWHERE),
    _R.TOKEN_REJECTED: RetryRule(_E.ANYWHERE),
    # Most likely the job's own fault: another kind of machine is tried once, and from the start, since a checkpoint
    # may be what the trainer stumbled over.
    _R.TRAINER_ERROR: _OWN,
    _R.MODEL_NOT_FOUND: _OWN,
    # With half the batch on each device, as long as there is a half.
    _R.OUT_OF_MEMORY: RetryRule(_E.NOT_SMALLER, delay=0, most=3, in_a_row=3),
}
"""Causes that are not here end the job."""

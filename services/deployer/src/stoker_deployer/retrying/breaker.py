"""The breaker: when another attempt would only cost more of the same."""

import itertools
import re
from collections.abc import Sequence

from stoker_deployer.jobs.view import View
from stoker_deployer.retrying.history import Past
from stoker_deployer.retrying.rules import RETRY
from stoker_shared.money import MicroUsd, show_usd

_COMPARED_LENGTH = 200
_IDS = re.compile(r"\b[a-z]+-[0-9a-f]{16}(-\d+)?\b|\b(?=[0-9a-f]*\d)[0-9a-f]{8,}\b|0x[0-9a-f]+")
_NUMBERS = re.compile(r"\d[\d.,:]*")


def why_enough(view: View, tried: Sequence[Past]) -> str:
    """Why the breaker stops the job after these attempts; empty if it does not."""
    return _same_again(tried) or _costly(view, tried)


def cause_of(past: Past) -> tuple[str, str]:
    """What two attempts must have in common to have failed for the same cause: numbers and ids do not matter."""
    text = _NUMBERS.sub("#", _IDS.sub("#", past.detail.lower()))
    return past.reason.value, " ".join(text.split())[:_COMPARED_LENGTH]


def _same_again(tried: Sequence[Past]) -> str:
    last = tried[-1]
    limit = RETRY[last.reason].in_a_row
    # What was refused before there was a machine neither confirms a cause nor refutes it.
    real = [past for past in reversed(tried) if past.is_spent]
    row = list(itertools.takewhile(lambda past: cause_of(past) == cause_of(last), real))
    if limit is None or len(row) < limit:
        return ""
    where = ", ".join(
        f"{past.attempt.number} ({past.attempt.provider} {past.attempt.gpu_type})" for past in reversed(row)
    )
    return f"Stopped by the breaker: {len(row)} attempts in a row ended with {last.reason.value}: {where}."


def _costly(view: View, tried: Sequence[Past]) -> str:
    budget, book = view.job.budget_micro_usd, view.snapshot.book
    lost = view.cost + sum(book.spent_by(past.attempt.number) for past in tried[:-1])
    if lost <= budget * view.policy.breaker_spend_share:
        return ""
    share = f"{view.policy.breaker_spend_share:.0%}"
    return (
        f"Stopped by the breaker: {len(tried)} failed attempts have cost {show_usd(MicroUsd(lost))}, more than {share} "
        f"of the budget of {show_usd(MicroUsd(budget))}."
    )

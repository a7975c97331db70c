"""Whether the budgets cover another attempt: the job's own, its project's, its user's."""

from stoker_deployer.jobs.steps import BeginAttempt, EndQueued, Wait
from stoker_deployer.jobs.view import View
from stoker_deployer.ledger.levels import Level
from stoker_deployer.retrying.offers import Chosen
from stoker_shared.job_state import EndReason
from stoker_shared.money import MicroUsd, cost_of, show_usd

WAITS_FOR_BUDGET = "budget"
"""How the reason of a wait for money begins."""


def begin_covered(view: View, chosen: Chosen) -> BeginAttempt | EndQueued | Wait:
    """Begin an attempt with a reservation; or say with numbers what lacks, and wait if others may give it back."""
    number, price, book = view.job.attempt + 1, MicroUsd(chosen.offer.price_micro_usd_per_hour), view.snapshot.book
    least = cost_of(view.policy.budget_tick, price)
    needs = f"attempt {number} needs at least {show_usd(least)} at {show_usd(price)} per hour."
    if book.budget_left < least:
        left = f"{show_usd(book.budget_left)} of {show_usd(view.job.budget_micro_usd)} are left"
        return EndQueued(EndReason.BUDGET_NOT_COVERED, f"{left}; {needs}")
    if lacking := [level for level in reversed(book.levels) if least and not level.covers(least)]:
        return _not_covered(view, lacking, least=least, needs=needs)
    wanted = max(least, cost_of(view.policy.reservation, price))
    reservation = MicroUsd(max(min(book.free, wanted), 0))
    return BeginAttempt(number, chosen.offer, reservation, chosen.batch, least=least, may_resume=chosen.may_resume)


def _not_covered(view: View, lacking: list[Level], *, least: int, needs: str) -> EndQueued | Wait:
    hopeless = [level for level in lacking if not level.may_cover(least)]
    if hopeless:
        return EndQueued(EndReason.BUDGET_NOT_COVERED, f"{hopeless[0]}; {needs}")
    held = show_usd(lacking[0].held_by_others)
    why = f"{WAITS_FOR_BUDGET}: {lacking[0]}; {needs} Jobs that run hold {held} and may give it back."
    return Wait(view.policy.queued_check, why)

"""What a machine has cost so far goes into the book: when it is due, and what is posted."""

from stoker_deployer.jobs.landing import reserve_ahead
from stoker_deployer.jobs.view import View
from stoker_deployer.ledger.book import Book
from stoker_shared.money import cost_of


def costs_money(view: View) -> bool:
    """Whether the present attempt has a machine whose cost is not settled."""
    attempt = view.snapshot.attempt
    return attempt is not None and attempt.billing_started_at is not None and attempt.ended_at is None


def is_accrual_due(view: View) -> bool:
    """Whether what it has cost since it was last noted is to be noted now."""
    if not costs_money(view):
        return False
    last = view.attempt.accrued_at or view.attempt.billing_started_at
    return last is not None and view.now - last >= view.policy.accrue_every


def lacks_cover(view: View) -> bool:
    """Whether more must be reserved for the present cost and for a landing."""
    return view.snapshot.book.lacks(view.attempt.number, total=view.cost + reserve_ahead(view))


def accrue(book: Book, view: View) -> None:
    """Post the cost up to now, and reserve ahead as far as the budgets have it."""
    number, ahead = view.attempt.number, reserve_ahead(view)
    top_up = cost_of(view.policy.reservation, view.price)
    book.accrue(number, total=view.cost, at=view.now, top_up=top_up)
    book.top_up(number, least=ahead, wanted=max(top_up, ahead), at=view.now)

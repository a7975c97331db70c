"""Double entry holds whatever happens: nothing appears, nothing vanishes, every cent of an attempt is told."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from stoker_deployer.ledger.book import Book, EntryKind, budget_account, held_account, spent_account
from tests.unit.deployer.rows import JOB, NOW

BUDGET = 1_000_000


def test_an_attempt_from_reservation_to_release() -> None:
    book = Book(JOB, budget=BUDGET)
    book.reserve(1, amount=600_000, at=NOW)
    book.accrue(1, total=100_000, at=NOW)
    book.accrue(1, total=250_000, at=NOW)
    book.settle(1, total=240_000, at=NOW)
    book.release(1, at=NOW)
    assert book.balances == {
        budget_account(JOB): -240_000,
        held_account(JOB, 1): 0,
        spent_account(JOB, 1): 240_000,
    }
    assert [posting.kind for posting in book.postings] == ["reserve", "accrue", "accrue", "settle", "release"]
    assert [posting.amount for posting in book.postings] == [600_000, 100_000, 150_000, 10_000, 360_000]


def test_a_cost_beyond_the_reservation_takes_more_of_the_budget() -> None:
    book = Book(JOB, budget=BUDGET)
    book.reserve(1, amount=100, at=NOW)
    book.accrue(1, total=150, at=NOW, top_up=1_000)
    assert (book.spent_by(1), book.held_by(1), book.budget_left) == (150, 1_000, BUDGET - 1_150)


def test_a_cost_beyond_the_budget_is_not_hidden() -> None:
    book = Book(JOB, budget=100)
    book.reserve(1, amount=100, at=NOW)
    book.accrue(1, total=130, at=NOW, top_up=1_000)
    assert (book.spent, book.budget_left) == (130, -30)


def test_a_total_that_does_not_rise_posts_nothing() -> None:
    book = Book(JOB, budget=BUDGET)
    book.reserve(1, amount=100, at=NOW)
    book.accrue(1, total=50, at=NOW)
    book.accrue(1, total=50, at=NOW)
    book.accrue(1, total=40, at=NOW)
    assert len(book.postings) == 2


def test_a_free_machine_is_reserved_too() -> None:
    book = Book(JOB, budget=0)
    book.reserve(1, amount=0, at=NOW)
    assert [(posting.kind, posting.amount) for posting in book.postings] == [(EntryKind.RESERVE, 0)]


def test_a_negative_amount_is_a_defect() -> None:
    with pytest.raises(ValueError, match="cannot move -1"):
        Book(JOB, budget=BUDGET).reserve(1, amount=-1, at=NOW)


@given(st.lists(st.integers(0, 10**9), max_size=30))
def test_accruals_in_pieces_cost_the_same_as_at_once(totals: list[int]) -> None:
    pieces, whole = Book(JOB, budget=BUDGET), Book(JOB, budget=BUDGET)
    for total in totals:
        pieces.accrue(1, total=total, at=NOW)
    whole.accrue(1, total=max(totals, default=0), at=NOW)
    assert pieces.spent == whole.spent == max(totals, default=0)


class LedgerOfAJob(RuleBasedStateMachine):
    """Attempts one after the other, in any order of accruals and top-ups, with real costs below or above them."""

    def __init__(self) -> None:
        super().__init__()
        self.book = Book(JOB, budget=BUDGET)
        self.attempt = 0
        self.is_open = False
        self.settled: dict[int, int] = {}

    @precondition(lambda self: not self.is_open)
    @rule(amount=st.integers(0, BUDGET))
    def begin(self, amount: int) -> None:
        self.attempt += 1
        self.is_open = True
        self.book.reserve(self.attempt, amount=min(amount, max(self.book.budget_left, 0)), at=NOW)

    @precondition(lambda self: self.is_open)
    @rule(total=st.integers(0, 2 * BUDGET), top_up=st.integers(0, BUDGET))
    def accrue(self, total: int, top_up: int) -> None:
        before = self.book.spent_by(self.attempt)
        self.book.accrue(self.attempt, total=total, at=NOW, top_up=top_up)
        assert self.book.spent_by(self.attempt) == max(before, total)

    @precondition(lambda self: self.is_open)
    @rule(total=st.integers(0, 2 * BUDGET))
    def end(self, total: int) -> None:
        self.book.settle(self.attempt, total=total, at=NOW)
        self.book.release(self.attempt, at=NOW)
        self.settled[self.attempt] = total
        self.is_open = False

    @invariant()
    def nothing_appears_or_vanishes(self) -> None:
        assert sum(self.book.balances.values()) == 0

    @invariant()
    def postings_explain_the_balances(self) -> None:
        explained: dict[str, int] = dict.fromkeys(self.book.balances, 0)
        for posting in self.book.postings:
            assert posting.amount >= 0
            explained[posting.debit] += posting.amount
            explained[posting.credit] -= posting.amount
        assert explained == self.book.balances

    @invariant()
    def keys_are_unique(self) -> None:
        keys = [posting.key for posting in self.book.postings]
        assert len(keys) == len(set(keys))

    @invariant()
    def attempts_that_are_over_hold_nothing_and_cost_what_was_settled(self) -> None:
        for attempt, total in self.settled.items():
            assert self.book.held_by(attempt) == 0
            assert self.book.spent_by(attempt) == total

    @invariant()
    def nothing_is_held_below_zero(self) -> None:
        assert all(amount >= 0 for name, amount in self.book.balances.items() if not name.startswith("budget:"))

    @invariant()
    def the_budget_is_short_of_what_is_held_and_spent(self) -> None:
        held = sum(amount for name, amount in self.book.balances.items() if name.startswith("held:"))
        assert self.book.budget_left == BUDGET - held - self.book.spent


TestLedgerOfAJob = LedgerOfAJob.TestCase

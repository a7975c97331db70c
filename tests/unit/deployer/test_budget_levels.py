"""Budgets of users and projects above those of jobs: what is committed is what the postings say, and limits hold."""

from collections import Counter
from dataclasses import replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from stoker_deployer.jobs.covering import WAITS_FOR_BUDGET
from stoker_deployer.jobs.steps import BeginAttempt, EndQueued, Wait
from stoker_deployer.jobs.transitions import next_step
from stoker_deployer.jobs.view import Sight
from stoker_deployer.ledger.book import Book, EntryKind
from stoker_deployer.ledger.levels import Level, LevelKind, levels_of
from stoker_shared.job_state import EndReason
from stoker_shared.money import ONE_USD
from tests.unit.deployer.rows import JOB, NOW, job, view
from tests.unit.deployer.situations import S

OWNER = "user-00000000000000aa"


def _levels(*, user: Level | None = None, project: Level | None = None) -> tuple[Level, Level]:
    plain_user, plain_project = levels_of(OWNER, "p")
    return user or plain_user, project or plain_project


def _project(limit: int, committed: int, *, held: int = 0) -> Level:
    return Level(LevelKind.PROJECT, OWNER, "p", limit=limit, committed=committed, held_by_others=held)


def _begin(levels: tuple[Level, ...]) -> object:
    row = job(S.QUEUED)
    return next_step(view(row, None, Sight(), book=Book(JOB, budget=row.budget_micro_usd, levels=levels)))


def test_money_passes_through_every_level_and_back() -> None:
    book = Book(JOB, budget=ONE_USD, levels=_levels())
    book.reserve(1, amount=600_000, at=NOW)
    book.accrue(1, total=250_000, at=NOW)
    book.settle(1, total=240_000, at=NOW)
    book.release(1, at=NOW)
    assert book.drawn == 240_000
    nonzero = {name: amount for name, amount in book.balances.items() if amount}
    assert nonzero == {f"user:{OWNER}": -240_000, f"spent:{JOB}/1": 240_000}


def test_a_bill_that_is_higher_takes_more_and_one_that_is_lower_gives_back() -> None:
    for billed in (90, 100, 130):
        book = Book(JOB, budget=ONE_USD, levels=_levels())
        book.reserve(1, amount=100, at=NOW)
        book.settle(1, total=100, at=NOW)
        book.release(1, at=NOW)
        book.settle_to_bill(1, billed=billed, at=NOW)
        assert (book.spent, book.held, book.drawn) == (billed, 0, billed)
        assert len({posting.key for posting in book.postings}) == len(book.postings)


def test_a_reservation_is_no_more_than_the_tightest_budget_has() -> None:
    step = _begin(_levels(project=_project(ONE_USD, ONE_USD - 5_000)))
    assert isinstance(step, BeginAttempt)
    assert step.reservation == 5_000


def test_a_top_up_stays_below_the_limit_of_the_project() -> None:
    book = Book(JOB, budget=ONE_USD, levels=_levels(project=_project(1_000, 0)))
    book.reserve(1, amount=900, at=NOW)
    book.accrue(1, total=950, at=NOW, top_up=ONE_USD)
    assert (book.spent_by(1), book.held_by(1), book.drawn) == (950, 50, 1_000)


def test_without_cover_the_refusal_names_the_level_and_its_numbers() -> None:
    step = _begin(_levels(project=_project(5 * ONE_USD, 5 * ONE_USD - 1_000)))
    assert isinstance(step, EndQueued)
    assert step.reason == EndReason.BUDGET_NOT_COVERED
    assert step.detail == (
        "$0.0010 of $5.0000 of project 'p' are free; attempt 1 needs at least $0.0028 at $1.0000 per hour."
    )


def test_a_limit_of_the_user_is_told_as_such() -> None:
    step = _begin(_levels(user=Level(LevelKind.USER, OWNER, limit=100, committed=100)))
    assert isinstance(step, EndQueued)
    assert "$0.0000 of $0.0001 of your account are free" in step.detail


def test_a_job_waits_while_others_may_give_back_what_it_needs() -> None:
    step = _begin(_levels(project=_project(5 * ONE_USD, 5 * ONE_USD, held=2_777)))
    assert isinstance(step, EndQueued)
    step = _begin(_levels(project=_project(5 * ONE_USD, 5 * ONE_USD, held=2_778)))
    assert isinstance(step, Wait)
    assert step.why.startswith(WAITS_FOR_BUDGET)


def test_no_waiting_for_one_level_while_another_is_hopeless() -> None:
    hopeless = Level(LevelKind.USER, OWNER, limit=ONE_USD, committed=ONE_USD)
    assert isinstance(_begin(_levels(user=hopeless, project=_project(10, 10, held=ONE_USD))), EndQueued)


class BudgetsOfAnOwner(RuleBasedStateMachine):
    """Two jobs in each of two projects, under limits that change at any time, with costs beyond what was reserved."""

    def __init__(self) -> None:
        super().__init__()
        self.budgets = {level.account: level for name in ("p", "q") for level in levels_of(OWNER, name)}
        self.books = {
            f"job-{number}": Book(f"job-{number}", budget=1_000, levels=levels_of(OWNER, "pq"[number % 2]))
            for number in range(4)
        }
        self.attempts: Counter[str] = Counter()
        self.running: set[str] = set()
        self.postings: list[object] = []

    def _open(self, name: str) -> Book:
        book = self.books[name]
        book.levels = tuple(self.budgets[level.account] for level in book.levels)
        return book

    def _save(self, book: Book) -> None:
        for level in book.levels:
            known = self.budgets[level.account]
            self.budgets[level.account] = replace(known, committed=known.committed + book.drawn)
        book.drawn = 0
        self.postings += book.postings
        book.postings.clear()

    @rule(name=st.sampled_from(["job-0", "job-1", "job-2", "job-3"]), wanted=st.integers(0, 1_500))
    def reserve(self, name: str, wanted: int) -> None:
        book = self._open(name)
        if name in self.running or book.free < 0:
            return
        self.attempts[name] += 1
        self.running.add(name)
        book.reserve(self.attempts[name], amount=min(wanted, book.free), at=NOW)
        self._save(book)
        assert all(level.covers(0) for level in self._open(name).levels)

    @precondition(lambda self: self.running)
    @rule(data=st.data(), top_up=st.integers(0, 500), more=st.integers(0, 400))
    def accrue(self, data: st.DataObject, top_up: int, more: int) -> None:
        name = data.draw(st.sampled_from(sorted(self.running)))
        book, number = self._open(name), self.attempts[name]
        total = book.spent_by(number) + more
        fits, is_forced = book.free >= 0, book.lacks(number, total=total) and more - book.held_by(number) > book.free
        book.accrue(number, total=total, at=NOW, top_up=top_up)
        self._save(book)
        if fits and not is_forced:
            assert all(level.covers(0) for level in self._open(name).levels)

    @precondition(lambda self: self.running)
    @rule(data=st.data(), less=st.integers(-300, 300), billed=st.integers(0, 600), orphans=st.integers(0, 200))
    def end(self, data: st.DataObject, less: int, billed: int, orphans: int) -> None:
        name = data.draw(st.sampled_from(sorted(self.running)))
        book, number = self._open(name), self.attempts[name]
        book.settle(number, total=max(book.spent_by(number) - less, 0), at=NOW)
        book.release(number, at=NOW)
        if orphans:
            book.add_late(number, amount=orphans, at=NOW)
        book.settle_to_bill(number, billed=billed, besides=orphans, at=NOW)
        self._save(book)
        self.running.discard(name)
        assert (book.spent_by(number), book.held_by(number)) == (billed + orphans, 0)

    @rule(account=st.sampled_from([f"user:{OWNER}", f"project:{OWNER}/p", f"project:{OWNER}/q"]), data=st.data())
    def set_limit(self, account: str, data: st.DataObject) -> None:
        limit = data.draw(st.none() | st.integers(0, 3_000))
        self.budgets[account] = replace(self.budgets[account], limit=limit)

    @invariant()
    def nothing_appears_or_vanishes(self) -> None:
        assert sum(sum(book.balances.values()) for book in self.books.values()) == 0

    @invariant()
    def committed_is_what_the_postings_say(self) -> None:
        for account, level in self.budgets.items():
            drawn = 0
            for posting in self.postings:
                if posting.kind == EntryKind.RESERVE and posting.credit == account:  # type: ignore[attr-defined]
                    drawn += posting.amount  # type: ignore[attr-defined]
                if posting.kind == EntryKind.RELEASE and posting.debit == account:  # type: ignore[attr-defined]
                    drawn -= posting.amount  # type: ignore[attr-defined]
            assert level.committed == drawn

    @invariant()
    def committed_is_what_the_jobs_below_hold_and_have_spent(self) -> None:
        for account, level in self.budgets.items():
            below = [book for book in self.books.values() if account in {each.account for each in book.levels}]
            assert level.committed == sum(book.held + book.spent for book in below)

    @invariant()
    def keys_are_unique(self) -> None:
        keys = [posting.key for posting in self.postings]  # type: ignore[attr-defined]
        assert len(keys) == len(set(keys))


TestBudgetsOfAnOwner = BudgetsOfAnOwner.TestCase
TestBudgetsOfAnOwner.settings = settings(max_examples=50, stateful_step_count=25, deadline=None)

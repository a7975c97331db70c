"""The book of one job: pure arithmetic over accounts. Every posting moves an amount from one account to another.

    budget:<job>            minus what attempts hold or have spent; budget left = the job's budget + this
    held:<job>/<attempt>    reserved and not spent yet; 0 when the attempt is over
    spent:<job>/<attempt>   what the machine has cost

The sum over all accounts is 0 at every moment.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from stoker_shared.money import MicroUsd


class EntryKind(StrEnum):
    """What a posting is for."""

    RESERVE = "reserve"
    ACCRUE = "accrue"
    SETTLE = "settle"
    RELEASE = "release"


@dataclass(frozen=True, slots=True)
class Posting:
    """`amount` goes from account `credit` to account `debit`. `key` makes a repetition impossible."""

    job_id: str
    attempt: int
    kind: EntryKind
    debit: str
    credit: str
    amount: MicroUsd
    at: datetime
    key: str


def budget_account(job_id: str) -> str:
    """Where a job's money comes from."""
    return f"budget:{job_id}"


def held_account(job_id: str, attempt: int) -> str:
    """What is reserved for an attempt."""
    return f"held:{job_id}/{attempt}"


def spent_account(job_id: str, attempt: int) -> str:
    """What an attempt has cost."""
    return f"spent:{job_id}/{attempt}"


class Book:
    """Balances of one job, and the postings made since they were read."""

    def __init__(self, job_id: str, *, budget: int, balances: Mapping[str, int] | None = None) -> None:
        self.job_id = job_id
        self.budget = budget
        self.postings: list[Posting] = []
        self._balances: Counter[str] = Counter(balances or {})

    @property
    def budget_left(self) -> MicroUsd:
        """What neither is held nor spent. Negative if machines cost more than the budget before they were gone."""
        return MicroUsd(self.budget + self._balances[budget_account(self.job_id)])

    @property
    def spent(self) -> MicroUsd:
        """What all attempts have cost."""
        return MicroUsd(sum(amount for name, amount in self._balances.items() if name.startswith("spent:")))

    @property
    def balances(self) -> dict[str, int]:
        """A copy, by account."""
        return dict(self._balances)

    def spent_by(self, attempt: int) -> MicroUsd:
        """What an attempt has cost so far."""
        return MicroUsd(self._balances[spent_account(self.job_id, attempt)])

    def held_by(self, attempt: int) -> MicroUsd:
        """What is still reserved for an attempt."""
        return MicroUsd(self._balances[held_account(self.job_id, attempt)])

    def reserve(self, attempt: int, *, amount: int, at: datetime) -> None:
        """Set money aside before a machine is asked for. An amount of 0 (a free machine) is recorded too."""
        self._hold(attempt, amount=amount, at=at, key="first")

    def accrue(self, attempt: int, *, total: int, at: datetime, top_up: int = 0) -> None:
        """Bring what the attempt has cost up to `total`; a lower total changes nothing.

        What the reservation lacks is reserved in addition, `top_up` or the remaining budget more if it can be had.
        """
        owed = total - self.spent_by(attempt)
        if owed <= 0:
            return
        self._cover(attempt, owed, at=at, top_up=top_up)
        held, spent = held_account(self.job_id, attempt), spent_account(self.job_id, attempt)
        self._post(EntryKind.ACCRUE, attempt, debit=spent, credit=held, amount=owed, at=at, key=str(total))

    def add_late(self, attempt: int, *, amount: int, at: datetime) -> None:
        """What an attempt costs after it was settled: a machine turned up that should have been gone."""
        held, spent = held_account(self.job_id, attempt), spent_account(self.job_id, attempt)
        key = f"late-{self.spent_by(attempt) + amount}"
        self._hold(attempt, amount=amount, at=at, key=key)
        self._post(EntryKind.ACCRUE, attempt, debit=spent, credit=held, amount=amount, at=at, key=key)

    def settle(self, attempt: int, *, total: int, at: datetime) -> None:
        """The final cost, higher or lower than what was accrued."""
        difference = total - self.spent_by(attempt)
        held, spent = held_account(self.job_id, attempt), spent_account(self.job_id, attempt)
        if difference > 0:
            self._cover(attempt, difference, at=at, top_up=0)
        debit, credit = (spent, held) if difference >= 0 else (held, spent)
        self._post(EntryKind.SETTLE, attempt, debit=debit, credit=credit, amount=abs(difference), at=at, key="final")

    def release(self, attempt: int, *, at: datetime) -> None:
        """Give back to the budget what was reserved and not spent."""
        held, budget = held_account(self.job_id, attempt), budget_account(self.job_id)
        amount = self.held_by(attempt)
        self._post(EntryKind.RELEASE, attempt, debit=budget, credit=held, amount=amount, at=at, key="final")

    def _cover(self, attempt: int, owed: int, *, at: datetime, top_up: int) -> None:
        missing = owed - self.held_by(attempt)
        if missing <= 0:
            return
        # A machine that cost more than the budget did cost it: the account goes below the budget, nothing is hidden.
        amount = max(missing, min(missing + top_up, self.budget_left))
        committed = self.held_by(attempt) + self.spent_by(attempt)
        self._hold(attempt, amount=amount, at=at, key=f"after-{committed}")

    def _hold(self, attempt: int, *, amount: int, at: datetime, key: str) -> None:
        held, budget = held_account(self.job_id, attempt), budget_account(self.job_id)
        self._post(EntryKind.RESERVE, attempt, debit=held, credit=budget, amount=amount, at=at, key=key)

    def _post(  # noqa: PLR0913 - a posting has this many parts
        self, kind: EntryKind, attempt: int, *, debit: str, credit: str, amount: int, at: datetime, key: str
    ) -> None:
        if amount < 0:
            raise ValueError(f"a posting cannot move {amount} micro-dollars")
        self._balances[debit] += amount
        self._balances[credit] -= amount
        full_key = f"{self.job_id}/{attempt}/{kind}/{key}"
        self.postings.append(
            Posting(
                self.job_id, attempt, kind, debit=debit, credit=credit, amount=MicroUsd(amount), at=at, key=full_key
            )
        )

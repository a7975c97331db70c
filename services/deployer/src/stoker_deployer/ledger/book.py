"""The book of one job: pure arithmetic over accounts. Every posting moves an amount from one account to another.

    user:<owner>            where all money comes from: minus what the user's jobs hold or have spent
    project:<owner>/<name>  passes money on from the user to the jobs of the project
    budget:<job>            passes it on to the attempts
    held:<job>/<attempt>    reserved and not spent yet; 0 when the attempt is over
    spent:<job>/<attempt>   what the machine has cost

The sum over all accounts is 0 at every moment. Money goes down and comes back through every level, so what passed
through the account of a project is what is committed there.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from stoker_deployer.ledger.levels import Level
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
    """Balances of one job, and the postings made since they were read.

    `levels` are the budgets above the job's own, the user's first, as they were read.
    """

    def __init__(
        self,
        job_id: str,
        *,
        budget: int,
        balances: Mapping[str, int] | None = None,
        levels: Sequence[Level] = (),
    ) -> None:
        self.job_id = job_id
        self.budget = budget
        self.levels = tuple(levels)
        self.postings: list[Posting] = []
        self.drawn = 0
        """What the postings since then took from the levels above; negative if more came back."""
        self._balances: Counter[str] = Counter(balances or {})

    @property
    def budget_left(self) -> MicroUsd:
        """What neither is held nor spent. Negative if machines cost more than the budget before they were gone."""
        return MicroUsd(self.budget - self.held - self.spent)

    @property
    def free(self) -> MicroUsd:
        """What may be reserved now: what the tightest of all budgets has left. Negative if one is overdrawn."""
        return MicroUsd(min([self.budget_left, *self._free_above()]))

    @property
    def free_above(self) -> MicroUsd | None:
        """What project and user have left for more reservations; None without limits."""
        return MicroUsd(min(self._free_above())) if self._free_above() else None

    @property
    def held(self) -> MicroUsd:
        """What is reserved for all attempts and not spent yet."""
        return MicroUsd(sum(amount for name, amount in self._balances.items() if name.startswith("held:")))

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

    def lacks(self, attempt: int, *, total: int) -> bool:
        """Whether bringing the attempt's cost up to `total` takes more than is reserved for it."""
        return total - self.spent_by(attempt) > self.held_by(attempt)

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

    def top_up(self, attempt: int, *, least: int, wanted: int, at: datetime) -> None:
        """If less than `least` is reserved, reserve up to `wanted`, as far as the budgets above have it.

        Others draw from these too: a reservation that is used up before it is renewed would find nothing left.
        """
        held = self.held_by(attempt)
        amount = min(wanted - held, self.free)
        if self.free_above is None or held >= least or amount <= 0:
            return
        self._hold(attempt, amount=amount, at=at, key=f"after-{held + self.spent_by(attempt)}")

    def settle(self, attempt: int, *, total: int, at: datetime) -> None:
        """The final cost by our own clock, higher or lower than what was accrued."""
        difference = total - self.spent_by(attempt)
        if difference > 0:
            self._cover(attempt, difference, at=at, top_up=0)
        self._correct(attempt, difference, at=at, key="final")

    def release(self, attempt: int, *, at: datetime) -> None:
        """Give back to the budgets what was reserved and not spent."""
        self._give_back(attempt, at=at, key="final")

    def settle_to_bill(self, attempt: int, *, billed: int, at: datetime, besides: int = 0) -> None:
        """What the provider says that an ended attempt's machine has cost. Takes from or gives back to the budgets;
        once. `besides` is what other machines of the attempt have cost.
        """
        difference = billed + besides - self.spent_by(attempt)
        if difference > 0:
            self._hold(attempt, amount=difference, at=at, key="billed")
        self._correct(attempt, difference, at=at, key="billed")
        if difference < 0:
            self._give_back(attempt, at=at, key="billed")

    def _cover(self, attempt: int, owed: int, *, at: datetime, top_up: int) -> None:
        missing = owed - self.held_by(attempt)
        if missing <= 0:
            return
        # A machine that cost more than the budget did cost it: the account goes below the budget, nothing is hidden.
        amount = max(missing, min(missing + top_up, self.free))
        committed = self.held_by(attempt) + self.spent_by(attempt)
        self._hold(attempt, amount=amount, at=at, key=f"after-{committed}")

    def _hold(self, attempt: int, *, amount: int, at: datetime, key: str) -> None:
        for kind, giver, taker in self._steps_above():
            if amount > 0:
                above = f"{key}/{kind}"
                self._post(EntryKind.RESERVE, attempt, debit=taker, credit=giver, amount=amount, at=at, key=above)
        held, budget = held_account(self.job_id, attempt), budget_account(self.job_id)
        self._post(EntryKind.RESERVE, attempt, debit=held, credit=budget, amount=amount, at=at, key=key)
        self.drawn += amount

    def _correct(self, attempt: int, difference: int, *, at: datetime, key: str) -> None:
        held, spent = held_account(self.job_id, attempt), spent_account(self.job_id, attempt)
        debit, credit = (spent, held) if difference >= 0 else (held, spent)
        self._post(EntryKind.SETTLE, attempt, debit=debit, credit=credit, amount=abs(difference), at=at, key=key)

    def _give_back(self, attempt: int, *, at: datetime, key: str) -> None:
        amount = self.held_by(attempt)
        held, budget = held_account(self.job_id, attempt), budget_account(self.job_id)
        self._post(EntryKind.RELEASE, attempt, debit=budget, credit=held, amount=amount, at=at, key=key)
        for kind, giver, taker in reversed(self._steps_above()):
            if amount > 0:
                above = f"{key}/{kind}"
                self._post(EntryKind.RELEASE, attempt, debit=giver, credit=taker, amount=amount, at=at, key=above)
        self.drawn -= amount

    def _steps_above(self) -> list[tuple[str, str, str]]:
        # (level, who gives, who takes) from the user down to the job.
        accounts = [*(level.account for level in self.levels), budget_account(self.job_id)]
        return [(level.kind, accounts[index], accounts[index + 1]) for index, level in enumerate(self.levels)]

    def _free_above(self) -> list[int]:
        return [level.free - self.drawn for level in self.levels if level.free is not None]

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

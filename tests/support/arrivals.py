"""In which ways the reports of a pod may come: cut anyhow, some again, out of order, in transactions of many sizes."""

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Generic, TypeVar

from hypothesis import strategies as st

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Arrival(Generic[Item]):
    """Batches that are stored in one transaction, and whether the sweep runs after it."""

    batches: list[list[Item]]
    then_sweep: bool = False


@dataclass(frozen=True)
class Course:
    """How the items of a run come, all of them decided by `seed`: Hypothesis' own chance makes dull small ones.

    `has_holes`: some sequences never come. `again`: the share that comes twice. `disorder`: how far from its place each
    may be. `largest`: batch.
    """

    seed: int
    count: int
    has_holes: bool
    again: float
    disorder: int
    largest: int
    chance: Random = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "chance", Random(self.seed))

    def items(self, make: Callable[[int, Random], Item]) -> list[Item]:
        """All items of the run, in order; each is made of its sequence."""
        sequences = range(1, self.count + 1)
        some = self.chance.sample(sequences, max(1, self.count * 3 // 4)) if self.has_holes else sequences
        return [make(sequence, self.chance) for sequence in sorted(some)]

    def arrivals(self, items: list[Item], *, sequence: Callable[[Item], int]) -> list[Arrival[Item]]:
        """As they come, each at least once."""
        again = self.chance.choices(items, k=int(len(items) * self.again))
        order = {id(item): sequence(item) for item in items}
        came = sorted([*items, *again], key=lambda item: order[id(item)] + self.chance.uniform(0, self.disorder))
        transactions = self._cut(self._cut(came, self.largest), 3)
        return [Arrival(batches, self.chance.random() < 0.4) for batches in transactions]

    def _cut(self, items: list[Item], largest: int) -> list[list[Item]]:
        cut, rest = [], items
        while rest:
            size = self.chance.randint(1, largest)
            cut.append(rest[:size])
            rest = rest[size:]
        return cut


def courses(*, most: int) -> st.SearchStrategy[Course]:
    """Courses of runs of up to so many items."""
    return st.builds(
        Course,
        seed=st.integers(0, 2**32),
        count=st.integers(1, most),
        has_holes=st.booleans(),
        again=st.sampled_from([0.0, 0.5, 1.5]),
        disorder=st.sampled_from([0, 3, 20, 1000]),
        largest=st.sampled_from([13, 5, 2]),
    )

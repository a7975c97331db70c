"""In which ways the reports of a pod may come: cut anyhow, some again, out of order, in transactions of many sizes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Generic, TypeVar

from hypothesis import strategies as st

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Arrival(Generic[Item]):
    """Batches that are stored in one transaction, and whether the sweep runs after it."""

    batches: list[list[Item]]
    then_sweep: bool = False


def arrivals(items: Sequence[Item], *, sequence: Callable[[Item], int]) -> st.SearchStrategy[list[Arrival[Item]]]:
    """Ways in which these may come; all come at least once. The simplest is in order, in large batches."""
    return st.builds(
        lambda chance, again, disorder, largest: _arrivals(
            _ordered([*items, *chance.choices(items, k=again)], chance, disorder, sequence), chance, largest
        ),
        st.randoms(use_true_random=False),
        st.integers(0, len(items)),
        st.sampled_from([0, 3, 20, 1000]),
        st.sampled_from([40, 13, 5]),
    )


def _ordered(items: list[Item], chance: Random, disorder: int, sequence: Callable[[Item], int]) -> list[Item]:
    """Each as far from its place as `disorder` allows."""
    return sorted(items, key=lambda item: sequence(item) + chance.uniform(0, disorder))


def _arrivals(items: list[Item], chance: Random, largest: int) -> list[Arrival[Item]]:
    transactions = _cut(_cut(items, chance, largest), chance, 3)
    return [Arrival(batches, chance.random() < 0.3) for batches in transactions]


def _cut(items: list[Item], chance: Random, largest: int) -> list[list[Item]]:
    cut, rest = [], list(items)
    while rest:
        size = chance.randint(1, largest)
        cut.append(rest[:size])
        rest = rest[size:]
    return cut

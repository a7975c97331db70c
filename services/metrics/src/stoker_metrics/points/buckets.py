"""Down-sampling: points in buckets of 16, 64, 256, ... with minimum, maximum, last value and counts. Pure rules.

A bucket holds the points whose sequences lie together (1 to 16, 17 to 32, ...), so how many there are depends on the
number of points alone, whatever the trainer's steps are. Buckets of the same place are merged; how points were cut
into batches, and in which order they came, makes no difference. A point must be counted once: that is the caller's.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from operator import itemgetter
from typing import NamedTuple

from stoker_shared.rpc.metrics import Point

WIDTHS = (16, 64, 256, 1024, 4096, 16_384, 65_536)
"""Points in a bucket, level by level. Each is a multiple of the one before."""

ALL = ""
"""The name under which a bucket counts points, whatever metrics they have. No metric has an empty name."""

Place = tuple[str, int]
"""Metric and number of the bucket, from 0."""


class Measured(NamedTuple):
    """What buckets need of a point."""

    sequence: int
    step: int
    values: dict[str, float | None]


@dataclass(frozen=True, slots=True)
class Bucket:
    """What is known of a metric's points in one bucket. `gaps` counts values that were no finite number."""

    first_step: int
    last_step: int
    last_sequence: int
    minimum: float | None
    maximum: float | None
    last: float | None
    count: int
    gaps: int

    def merged(self, other: "Bucket") -> "Bucket":
        """Both together. In any order the same."""
        newer = self if self.last_sequence >= other.last_sequence else other
        return Bucket(
            first_step=min(self.first_step, other.first_step),
            last_step=max(self.last_step, other.last_step),
            last_sequence=newer.last_sequence,
            minimum=_of(min, self.minimum, other.minimum),
            maximum=_of(max, self.maximum, other.maximum),
            last=newer.last,
            count=self.count + other.count,
            gaps=self.gaps + other.gaps,
        )


def number_of(sequence: int, width: int) -> int:
    """The bucket in which a sequence lies."""
    return (sequence - 1) // width


def bucketed(points: Iterable[Measured | Point], width: int) -> dict[Place, Bucket]:
    """Points in buckets of one width."""
    together: dict[Place, list[tuple[int, int, float | None]]] = {}
    for point in points:
        number, step, sequence = number_of(point.sequence, width), point.step, point.sequence
        together.setdefault((ALL, number), []).append((sequence, step, None))
        for metric, value in point.values.items():
            together.setdefault((metric, number), []).append((sequence, step, value))
    return {place: _bucket(found, has_values=place[0] != ALL) for place, found in together.items()}


def coarser(buckets: Mapping[Place, Bucket], *, width: int, wanted: int) -> dict[Place, Bucket]:
    """Buckets of `width` as buckets of `wanted`, a multiple of it."""
    found: dict[Place, Bucket] = {}
    for (metric, number), bucket in buckets.items():
        _add(found, (metric, number * width // wanted), bucket)
    return found


def levels(points: Iterable[Measured | Point]) -> dict[int, dict[Place, Bucket]]:
    """Points in buckets of every width."""
    made = {WIDTHS[0]: bucketed(points, WIDTHS[0])}
    for finer, width in pairwise(WIDTHS):
        made[width] = coarser(made[finer], width=finer, wanted=width)
    return made


def merge_into(known: dict[Place, Bucket], more: Mapping[Place, Bucket]) -> None:
    """Add buckets to those that are known."""
    for place, bucket in more.items():
        _add(known, place, bucket)


def _add(found: dict[Place, Bucket], place: Place, bucket: Bucket) -> None:
    known = found.get(place)
    found[place] = bucket if known is None else known.merged(bucket)


def _bucket(found: list[tuple[int, int, float | None]], *, has_values: bool) -> Bucket:
    steps = [step for _, step, _ in found]
    finite = [value for *_, value in found if value is not None]
    sequence, _, last = max(found, key=itemgetter(0))
    return Bucket(
        first_step=min(steps),
        last_step=max(steps),
        last_sequence=sequence,
        minimum=min(finite, default=None),
        maximum=max(finite, default=None),
        last=last,
        count=len(found),
        gaps=len(found) - len(finite) if has_values else 0,
    )


def _of(choose: Callable[[float, float], float], one: float | None, other: float | None) -> float | None:
    if one is None or other is None:
        return one if other is None else other
    return choose(one, other)

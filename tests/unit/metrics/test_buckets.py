"""Down-sampling: whatever the order and the batches, the same levels; each says what the points themselves say."""

import itertools
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from stoker_metrics.points.buckets import ALL, WIDTHS, Bucket, Place, bucketed, coarser, levels, merge_into, number_of
from stoker_shared.rpc.metrics import Point

AT = datetime(2026, 11, 22, tzinfo=UTC)
VALUES = st.one_of(st.none(), st.floats(-1e6, 1e6).map(lambda value: value + 0.0))
POINTS = st.lists(
    st.builds(
        lambda sequence, step, values: Point(sequence=sequence, step=step, at=AT, values=values),
        st.integers(1, 300_000) | st.integers(1, 40),
        st.integers(0, 2**53),
        st.dictionaries(st.sampled_from(["loss", "eval_loss", "grad_norm"]), VALUES),
    ),
    max_size=60,
    unique_by=lambda point: point.sequence,
)


def as_points_say(points: list[Point], width: int) -> dict[Place, Bucket]:
    """What the levels must hold, counted in the plainest way."""
    found: dict[Place, Bucket] = {}
    for metric in [ALL, *{name for point in points for name in point.values}]:
        for number in {number_of(point.sequence, width) for point in points}:
            inside = [
                point
                for point in points
                if number_of(point.sequence, width) == number and (metric == ALL or metric in point.values)
            ]
            if not inside:
                continue
            values = [point.values.get(metric) for point in inside]
            finite = [value for value in values if value is not None]
            newest = max(inside, key=lambda point: point.sequence)
            found[metric, number] = Bucket(
                first_step=min(point.step for point in inside),
                last_step=max(point.step for point in inside),
                last_sequence=newest.sequence,
                minimum=min(finite, default=None),
                maximum=max(finite, default=None),
                last=newest.values.get(metric),
                count=len(inside),
                gaps=0 if metric == ALL else len(values) - len(finite),
            )
    return found


@given(POINTS)
def test_each_level_says_what_the_points_say(points: list[Point]) -> None:
    assert levels(points) == {width: as_points_say(points, width) for width in WIDTHS}


@given(POINTS, st.randoms(use_true_random=False), st.integers(1, 10))
def test_any_order_and_any_batches_give_the_same_levels(points: list[Point], choice: object, parts: int) -> None:
    shuffled = list(points)
    choice.shuffle(shuffled)  # type: ignore[attr-defined]
    made: dict[int, dict[Place, Bucket]] = {width: {} for width in WIDTHS}
    for part in range(parts):
        for width, more in levels(shuffled[part::parts]).items():
            merge_into(made[width], more)
    assert made == levels(points)


@given(POINTS, st.sampled_from(WIDTHS[1:]))
def test_a_coarse_level_is_the_same_from_a_finer_one_as_from_the_points(points: list[Point], wanted: int) -> None:
    assert coarser(bucketed(points, WIDTHS[0]), width=WIDTHS[0], wanted=wanted) == bucketed(points, wanted)


def test_a_run_of_any_length_has_a_level_that_fits_a_chart() -> None:
    assert all(coarse % fine == 0 for fine, coarse in itertools.pairwise(WIDTHS))
    assert number_of(10_000_000, WIDTHS[-1]) < 1000

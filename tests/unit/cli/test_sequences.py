"""Nothing is told twice, and what is missing is known."""

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from stoker.client.news import LogWritten, MetricsReported
from stoker.client.sequences import Seen, Sequences
from stoker_shared.rpc.metrics import Line, Point

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def points(*sequences: int, attempt: int = 1) -> MetricsReported:
    return MetricsReported(
        attempt, tuple(Point(sequence=number, step=number, at=NOON, values={}) for number in sequences)
    )


def lines(*sequences: int, attempt: int = 1) -> LogWritten:
    return LogWritten(attempt, tuple(Line(sequence=n, at=NOON, stream="stdout", text=str(n)) for n in sequences))


@given(st.lists(st.integers(min_value=1, max_value=40)))
def test_each_number_is_taken_once_in_any_order(numbers: list[int]) -> None:
    seen = Sequences()
    assert sorted(number for number in numbers if seen.take(number)) == sorted(set(numbers))


@given(st.permutations(range(1, 20)))
def test_all_numbers_in_any_order_leave_no_gap(numbers: list[int]) -> None:
    seen = Sequences()
    for number in numbers:
        seen.take(number)
    assert seen.whole_until == 19
    assert not seen.beyond


def test_a_batch_that_overlaps_the_last_one_gives_only_what_is_new() -> None:
    seen = Seen()
    seen.fresh(points(1, 2, 3))
    news = seen.fresh(points(2, 3, 4))
    assert news is not None
    assert [point.sequence for point in news.entries] == [4]
    assert seen.fresh(points(2, 3, 4)) is None


def test_a_gap_is_seen_before_and_after_it_is_told() -> None:
    seen = Seen()
    seen.fresh(points(1))
    assert seen.would_leave_gap(points(3))
    seen.fresh(points(3))
    assert seen.has_gap
    seen.fresh(points(2))
    assert not seen.has_gap


def test_points_and_lines_are_counted_apart() -> None:
    seen = Seen()
    seen.fresh(points(1, 2))
    assert not seen.would_leave_gap(lines(1))
    assert seen.would_leave_gap(lines(2))


def test_another_attempt_counts_from_one_and_the_old_one_is_not_heard_any_more() -> None:
    seen = Seen()
    seen.fresh(points(1, 2, 3))
    assert not seen.would_leave_gap(points(1, attempt=2))
    assert seen.would_leave_gap(points(2, attempt=2))
    news = seen.fresh(points(1, attempt=2))
    assert news is not None
    assert seen.fresh(points(4)) is None
    assert not seen.would_leave_gap(points(9))

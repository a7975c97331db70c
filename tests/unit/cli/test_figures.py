"""Numbers and curves as people see them."""

import math
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker.terminal.figures import bucket_means, curve, show_bytes, show_duration, sparkline

numbers = st.lists(st.floats(min_value=-1e6, max_value=1e6), min_size=1, max_size=300)


def test_a_falling_loss_is_a_falling_line() -> None:
    assert sparkline([8, 7, 6, 5, 4, 3, 2, 1]) == "█▇▆▅▄▃▂▁"


def test_a_long_history_is_averaged_into_the_width() -> None:
    assert sparkline([4.0] * 50 + [1.0] * 50, width=4) == "██▁▁"


@pytest.mark.parametrize(("values", "line"), [([], ""), ([math.nan, math.inf], ""), ([2.0, 2.0], "▁▁"), ([1.0], "▁")])
def test_odd_histories_have_a_line_too(values: list[float], line: str) -> None:
    assert sparkline(values) == line


def test_what_is_not_finite_is_left_out() -> None:
    assert sparkline([2.0, math.nan, 1.0]) == "█▁"


@given(numbers, st.integers(min_value=1, max_value=80))
def test_a_line_is_never_wider_than_asked(values: list[float], width: int) -> None:
    assert 1 <= len(sparkline(values, width=width)) <= width


@given(numbers, st.integers(min_value=1, max_value=80))
def test_means_lie_between_the_extremes(values: list[float], buckets: int) -> None:
    means = bucket_means(values, buckets)
    assert all(min(values) - 1e-6 <= mean <= max(values) + 1e-6 for mean in means)


def test_a_curve_has_its_first_point_on_top_and_its_last_at_the_bottom() -> None:
    lines = curve([3.0, 2.0, 1.0], height=5)
    assert lines[0] == "   3.000 |*"
    assert lines[4] == "   1.000 |  *"
    assert lines[5] == "         +---"
    assert sum(line.count("*") for line in lines) == 3


def test_a_flat_curve_is_drawn() -> None:
    assert sum(line.count("*") for line in curve([1.0, 1.0])) == 2


def test_no_curve_without_values() -> None:
    assert curve([math.nan]) == []


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (19_600_000, "19.6 MB"),
        (5 * 10**15, "5000.0 TB"),
        (None, "unknown"),
    ],
)
def test_bytes(amount: int | None, text: str) -> None:
    assert show_bytes(amount) == text


@pytest.mark.parametrize(
    ("duration", "text"),
    [
        (0.4, "0.4 s"),
        (45.0, "45 s"),
        (59.7, "1 min 00 s"),
        (200, "3 min 20 s"),
        (timedelta(hours=2, minutes=5), "2 h 05 min"),
        (-3.0, "0.0 s"),
        (None, "unknown"),
    ],
)
def test_durations(duration: timedelta | float | None, text: str) -> None:
    assert show_duration(duration) == text

"""Delays between deliveries grow, stay within bounds, and are never zero."""

from hypothesis import given
from hypothesis import strategies as st

from stoker_shared.bus.retry import BASE_DELAY_SECONDS, MAX_DELAY_SECONDS, retry_delay

jitters = st.floats(min_value=-1, max_value=1)


@given(st.integers(min_value=1, max_value=10_000), jitters)
def test_a_delay_is_never_nothing_and_never_above_the_limit(delivered: int, jitter: float) -> None:
    assert 0.8 * BASE_DELAY_SECONDS <= retry_delay(delivered, jitter=jitter) <= 1.2 * MAX_DELAY_SECONDS


@given(st.integers(min_value=1, max_value=10_000))
def test_delays_do_not_shrink_with_further_deliveries(delivered: int) -> None:
    assert retry_delay(delivered + 1, jitter=0) >= retry_delay(delivered, jitter=0)


def test_delays_double_until_the_limit() -> None:
    assert [retry_delay(delivered, jitter=0) for delivered in (1, 2, 3, 8, 9, 10)] == [0.25, 0.5, 1.0, 32.0, 60.0, 60.0]


def test_jitter_moves_a_delay_by_a_fifth_at_most() -> None:
    assert (retry_delay(3, jitter=-1), retry_delay(3, jitter=1)) == (0.8, 1.2)

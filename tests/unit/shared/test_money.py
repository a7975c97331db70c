"""Money: whole micro-dollars, rounded up, nothing lost by cutting time into pieces."""

from datetime import timedelta
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from stoker_shared.errors import AmountUnreadable
from stoker_shared.money import MicroUsd, NonNegativeMicroUsd, cost_of, show_usd, usd

durations = st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=30))
prices = st.integers(min_value=0, max_value=10**9).map(MicroUsd)


@given(durations, prices)
def test_cost_is_the_exact_product_rounded_up_to_a_whole_micro_dollar(duration: timedelta, price: MicroUsd) -> None:
    exact = Fraction(duration // timedelta(microseconds=1)) * price / 3_600_000_000
    cost = cost_of(duration, price)
    assert type(cost) is int
    assert exact <= cost < exact + 1


@given(durations, durations, prices)
def test_cutting_a_duration_never_costs_less(first: timedelta, second: timedelta, price: MicroUsd) -> None:
    assert cost_of(first, price) + cost_of(second, price) >= cost_of(first + second, price)


@given(durations, durations, prices)
def test_more_time_never_costs_less(first: timedelta, more: timedelta, price: MicroUsd) -> None:
    assert cost_of(first + more, price) >= cost_of(first, price)


def test_an_hour_costs_the_price_of_an_hour() -> None:
    assert cost_of(timedelta(hours=1), usd("0.40")) == 400_000


def test_a_clock_that_was_set_back_costs_nothing() -> None:
    assert cost_of(timedelta(seconds=-5), usd("4.00")) == 0


@given(st.integers(min_value=-(10**12), max_value=10**12))
def test_an_amount_that_is_shown_in_full_reads_back_the_same(amount: int) -> None:
    shown = show_usd(amount, places=6).replace(",", "").replace("$", "")
    assert usd(shown) == amount


@pytest.mark.parametrize(
    ("text", "micro"),
    [
        ("12.50", 12_500_000),
        ("$1", 1_000_000),
        (" 0.000001 ", 1),
        ("0.0000005", 1),
        (3, 3_000_000),
        (Decimal(2), 2_000_000),
    ],
)
def test_amounts_are_read_exactly(text: str | int | Decimal, micro: int) -> None:
    amount = usd(text)
    assert amount == micro
    assert type(amount) is int


@pytest.mark.parametrize(
    "text", ["", "twelve", "1,5", "NaN", "Infinity", "-Infinity", "1e999999999", "1e999998", "1000000001", "0x10"]
)
def test_what_is_no_amount_is_refused_with_what_was_written(text: str) -> None:
    with pytest.raises(AmountUnreadable, match=r"12\.50") as caught:
        usd(text)
    assert repr(text) in caught.value.detail


@pytest.mark.parametrize("amount", [-1, 10**15 + 1, 0.5, "NaN"])
def test_a_message_cannot_carry_an_absurd_amount(amount: object) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(NonNegativeMicroUsd).validate_python(amount)


def test_small_and_negative_amounts_are_shown_for_people() -> None:
    assert [show_usd(12_345), show_usd(-1_500_000, places=2), show_usd(1_234_567_000_000, places=2)] == [
        "$0.0123",
        "-$1.50",
        "$1,234,567.00",
    ]

"""Money is whole micro-dollars (USD * 1,000,000) in an int. Floats never touch it."""

from datetime import timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import Annotated, NewType

from pydantic import Field

from stoker_shared.errors import AmountUnreadable

MicroUsd = NewType("MicroUsd", int)

_LIMIT = 10**15

NonNegativeMicroUsd = Annotated[int, Field(ge=0, le=_LIMIT)]
"""An amount in a message or a request; the upper limit of a thousand million USD catches unit mistakes."""

ONE_USD = MicroUsd(1_000_000)
_MICROSECOND = timedelta(microseconds=1)
_HOUR_IN_MICROSECONDS = 3_600_000_000


def usd(amount: str | int | Decimal) -> MicroUsd:
    """Read an amount in dollars, such as `"12.50"`.

    Raises:
        AmountUnreadable: not a decimal number, or beyond a thousand million dollars.
    """
    try:
        value = Decimal(str(amount).strip().removeprefix("$")) * ONE_USD
        is_absurd = not abs(value) <= _LIMIT
    except ArithmeticError as error:
        raise AmountUnreadable(str(amount)) from error
    if is_absurd:
        raise AmountUnreadable(str(amount))
    return MicroUsd(int(value.to_integral_value(rounding=ROUND_HALF_UP)))


def cost_of(duration: timedelta, price_per_hour: MicroUsd) -> MicroUsd:
    """What a machine costs for that long, rounded up to the next micro-dollar.

    A negative duration (a clock that was set back) costs nothing.
    """
    microseconds = max(duration // _MICROSECOND, 0)
    return MicroUsd(-(-microseconds * price_per_hour // _HOUR_IN_MICROSECONDS))


def show_usd(amount: int, *, places: int = 4) -> str:
    """For people: `$0.0123`."""
    sign = "-" if amount < 0 else ""
    value = (Decimal(abs(amount)) / ONE_USD).quantize(Decimal(1).scaleb(-places), rounding=ROUND_HALF_UP)
    return f"{sign}${value:,}"

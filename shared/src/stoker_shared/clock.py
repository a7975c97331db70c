"""Time as an argument. Services take a `Clock`; tests hand in a `ManualClock` and move it."""

from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """Tells the time of day, always aware and in UTC."""

    def now(self) -> datetime:
        """The present moment."""
        ...


class SystemClock:
    """The clock of the machine."""

    def now(self) -> datetime:
        """The present moment by the machine's clock."""
        return datetime.now(UTC)


class ManualClock:
    """A clock that stands still until it is moved."""

    def __init__(self, start: datetime) -> None:
        self._now = start

    def now(self) -> datetime:
        """The moment last set."""
        return self._now

    def advance(self, by: timedelta) -> None:
        """Move forward, or backward if `by` is negative."""
        self._now += by

"""Times of a machine whose clock is wrong, on ours."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

TOLERANCE = timedelta(seconds=5)
"""A smaller difference may be the way of the report."""

EARLIEST = datetime(2020, 1, 1, tzinfo=UTC)
LATEST_AHEAD = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class ClockShift:
    """What is added to times of one report, and the moment it came."""

    by: timedelta
    now: datetime

    @property
    def seconds(self) -> float:
        """0.0: the clock is right, or nobody can tell."""
        return self.by.total_seconds()

    def moved(self, at: datetime) -> datetime:
        """A time on our clock. One that no training of ours can have is the moment at which it came."""
        try:
            moved = at + self.by
        except OverflowError:
            return self.now
        return moved if EARLIEST <= moved <= self.now + LATEST_AHEAD else self.now

    def is_needed(self, times: Sequence[datetime]) -> bool:
        """Whether one of some times is another one on our clock."""
        return bool(self.by) or min(times) < EARLIEST or max(times) > self.now + LATEST_AHEAD


def clock_shift(sent_at: datetime | None, *, now: datetime) -> ClockShift:
    """How far the sender's clock is off, as its `sent_at` tells; without it the clock is believed."""
    by = timedelta(0) if sent_at is None else now - sent_at
    return ClockShift(by if abs(by) > TOLERANCE else timedelta(0), now)

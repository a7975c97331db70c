"""Which points and log lines of a job have been told already."""

from dataclasses import dataclass, field

from stoker.client.news import Entries, LogWritten, MetricsReported


@dataclass(slots=True)
class Sequences:
    """Which numbers of 1, 2, 3, ... have come. All up to `whole_until` have, those in `beyond` came early."""

    whole_until: int = 0
    beyond: set[int] = field(default_factory=set)

    def take(self, number: int) -> bool:
        """Note a number; False if it has come before."""
        if number <= self.whole_until or number in self.beyond:
            return False
        self.beyond.add(number)
        while self.whole_until + 1 in self.beyond:
            self.whole_until += 1
            self.beyond.remove(self.whole_until)
        return True


@dataclass(slots=True)
class Seen:
    """What has been told of the latest attempt; each attempt counts its points and lines from 1."""

    attempt: int = 0
    points: Sequences = field(default_factory=Sequences)
    lines: Sequences = field(default_factory=Sequences)

    @property
    def has_gap(self) -> bool:
        """Whether something came after what has not come yet."""
        return bool(self.points.beyond or self.lines.beyond)

    def enter(self, attempt: int) -> bool:
        """Begin to count afresh if this attempt is newer; True if it is."""
        if attempt <= self.attempt:
            return False
        self.attempt, self.points, self.lines = attempt, Sequences(), Sequences()
        return True

    def would_leave_gap(self, item: Entries) -> bool:
        """Whether something before these entries has not come yet."""
        if item.attempt < self.attempt:
            return False
        whole_until = self._of(item).whole_until if item.attempt == self.attempt else 0
        return min((entry.sequence for entry in item.entries), default=0) > whole_until + 1

    def fresh(self, item: Entries) -> Entries | None:
        """The entries that have not been told, which now have; None if there are none. An old attempt's are dropped."""
        self.enter(item.attempt)
        if item.attempt < self.attempt:
            return None
        known = self._of(item)
        if isinstance(item, MetricsReported):
            points = tuple(point for point in item.points if known.take(point.sequence))
            return MetricsReported(item.attempt, points) if points else None
        lines = tuple(line for line in item.lines if known.take(line.sequence))
        return LogWritten(item.attempt, lines) if lines else None

    def _of(self, item: Entries) -> Sequences:
        return self.points if isinstance(item, MetricsReported) else self.lines

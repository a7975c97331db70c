"""Events may be stored out of order, since several workers consume them. A stream sends them in order."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Protocol, TypeVar


class StoredEvent(Protocol):
    """What the order depends on."""

    sequence: int
    recorded_at: datetime


EventT = TypeVar("EventT", bound=StoredEvent)


def sendable(events: Sequence[EventT], *, after: int, now: datetime, patience: timedelta) -> Iterator[EventT]:
    """Those that may be sent now, of events sorted by sequence.

    An event behind a gap waits for what is missing, but no longer than `patience` after it was stored: what is missing
    then may never come (a dead letter, or a stream that has forgotten it).
    """
    last = after
    for event in events:
        has_gap = event.sequence != last + 1
        if has_gap and now - event.recorded_at < patience:
            return
        yield event
        last = event.sequence

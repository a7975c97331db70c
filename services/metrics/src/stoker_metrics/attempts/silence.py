"""Whether a pod's silence can be trusted.

A machine is ended when its pod falls silent. After a start of this service, or an outage of the broker or the
database, a pod may have spoken without being heard; then the question is better left unanswered for a while.
"""

from datetime import datetime, timedelta

from stoker_shared.clock import Clock


class Hearing:
    """Remembers when reports could last not be taken or stored."""

    def __init__(self, *, clock: Clock, silent_after: timedelta, grace: timedelta) -> None:
        self._clock = clock
        self._silent_after = silent_after
        self._grace = grace
        self._deaf_until = clock.now() + grace

    def failed(self) -> None:
        """A report could not be taken or stored just now."""
        self._deaf_until = self._clock.now() + self._grace

    def proves_silence(self, last_heard_at: datetime) -> bool:
        """Whether `last_heard_at` may be told: the pod was heard lately, or would have been if it had spoken."""
        now = self._clock.now()
        return now - last_heard_at < self._silent_after or now >= self._deaf_until

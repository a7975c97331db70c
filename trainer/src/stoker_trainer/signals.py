"""SIGTERM: at once while nothing is at stake, after the current step while training. SIGUSR1: with time left."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from types import FrameType

from stoker_trainer.errors import Terminated


class TerminationWatch:
    """Turns SIGTERM into Terminated. While `deferred`, the signal is only noted.

    SIGUSR1 comes from the guard of a pod that will end itself: training stops after the current step, what is stored
    just then is stored to its end, and a SIGTERM that follows counts.
    """

    def __init__(self, *, clock: Callable[[], float] = monotonic) -> None:
        self.is_requested = False
        self.has_time = False
        self._clock = clock
        self._requested_at = 0.0
        self._is_deferred = False

    def install(self) -> None:
        """Listen to SIGTERM and SIGUSR1. Needs the main thread."""
        signal.signal(signal.SIGTERM, self._on_signal)
        signal.signal(signal.SIGUSR1, self._on_early_signal)

    @property
    def seconds_since_request(self) -> float:
        """How long ago SIGUSR1 came."""
        return self._clock() - self._requested_at

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Within this block a signal sets `is_requested`; whoever runs the block looks at it."""
        self._is_deferred = True
        try:
            yield
        finally:
            self._is_deferred = False

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        if self.is_requested and not self.has_time:
            return
        self.is_requested, self.has_time = True, False
        if not self._is_deferred:
            raise Terminated

    def _on_early_signal(self, _number: int, _frame: FrameType | None) -> None:
        if not self.is_requested:
            self.is_requested = self.has_time = True
            self._requested_at = self._clock()

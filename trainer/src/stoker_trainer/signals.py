"""SIGTERM: at once while nothing is at stake, after the current step while training."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from stoker_trainer.errors import Terminated


class TerminationWatch:
    """Turns SIGTERM into Terminated. While `deferred`, the signal is only noted."""

    def __init__(self) -> None:
        self.is_requested = False
        self._is_deferred = False

    def install(self) -> None:
        """Listen to SIGTERM. Needs the main thread."""
        signal.signal(signal.SIGTERM, self._on_signal)

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Within this block a signal sets `is_requested`; whoever runs the block looks at it."""
        self._is_deferred = True
        try:
            yield
        finally:
            self._is_deferred = False

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        if self.is_requested:
            return
        self.is_requested = True
        if not self._is_deferred:
            raise Terminated

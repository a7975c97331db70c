"""What the reporter says of itself: on the console alone, or it would come back to the reporter."""

import contextlib
from collections.abc import Callable

from stoker_trainer.masking import Masker


class Console:
    """Prints without secrets. A console that is closed or on a full disk stops neither training nor reports."""

    def __init__(self, echo: Callable[[str], object], *, mask: Masker) -> None:
        self._echo = echo
        self.mask = mask

    def say(self, text: str) -> None:
        """Print a line."""
        with contextlib.suppress(OSError, ValueError):
            self._echo(self.mask(text))

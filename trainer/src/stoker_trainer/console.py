"""What the reporter says of itself: on the console alone, or it would come back to the reporter."""

from collections.abc import Callable

from stoker_trainer.masking import Masker


class Console:
    """Prints without secrets."""

    def __init__(self, echo: Callable[[str], object], *, mask: Masker) -> None:
        self._echo = echo
        self.mask = mask

    def say(self, text: str) -> None:
        """Print a line."""
        self._echo(self.mask(text))

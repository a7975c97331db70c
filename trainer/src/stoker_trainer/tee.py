"""Copying what is printed: lines go where they went before, masked, and to the reporter too."""

import io
from collections.abc import Callable
from typing import TextIO

from stoker_trainer.masking import Masker


class Tee(io.TextIOBase):
    """Stands in for sys.stdout or sys.stderr. A line is passed on when it is complete, so a secret is never cut."""

    def __init__(self, stream: TextIO, *, masker: Masker, on_line: Callable[[str], object]) -> None:
        self._stream = stream
        self._mask = masker
        self._on_line = on_line
        self._rest = ""

    def write(self, text: str) -> int:
        """Print complete lines; keep the rest until its end comes."""
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            self._emit(line)
        return len(text)

    def print_only(self, line: str) -> None:
        """Print a line that the reporter has already."""
        self._stream.write(line + "\n")
        self._stream.flush()

    def flush(self) -> None:
        """Flush the stream below; an incomplete line stays here."""
        self._stream.flush()

    def close(self) -> None:
        """Print what is left. The stream below stays open."""
        if self._rest:
            self._emit(self._rest)
            self._rest = ""

    def isatty(self) -> bool:
        """Never: libraries should not draw."""
        return False

    def fileno(self) -> int:
        """The stream below; faulthandler and subprocesses write there."""
        return self._stream.fileno()

    def _emit(self, line: str) -> None:
        # A progress bar rewrites its line with \r: only its last state is worth a line.
        line = line.rstrip("\r").rpartition("\r")[2]
        self.print_only(self._mask(line))
        if line.strip():
            self._on_line(line)

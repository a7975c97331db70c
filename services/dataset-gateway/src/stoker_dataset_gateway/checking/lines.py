"""Cutting a stream of bytes into lines without ever holding more than one line and one block."""

from collections.abc import Iterator
from typing import NamedTuple


class Line(NamedTuple):
    """One line without its line break. `content` is None if it was longer than the limit."""

    number: int
    content: bytes | None
    start: bytes = b""


class LineCutter:
    """Lines end at a line feed, as for every reader of JSON Lines. They count from 1."""

    def __init__(self, *, limit: int) -> None:
        self._limit = limit
        self._number = 0
        self._pieces: list[bytes] = []
        self._length = 0

    def feed(self, block: bytes) -> Iterator[Line]:
        """The lines that this block completes."""
        first, *others = block.split(b"\n")
        self._hold(first)
        for piece in others:
            yield self._take()
            self._hold(piece)

    def finish(self) -> Iterator[Line]:
        """The last line, if the file does not end with a line break."""
        if self._length:
            yield self._take()

    def _hold(self, piece: bytes) -> None:
        # Of a line beyond the limit only the start is kept, for the excerpt.
        if self._length <= self._limit and piece:
            self._pieces.append(piece)
        self._length += len(piece)

    def _take(self) -> Line:
        content = b"".join(self._pieces)
        is_too_long = self._length > self._limit
        self._pieces, self._length = [], 0
        self._number += 1
        return Line(self._number, None if is_too_long else content, content[:200])

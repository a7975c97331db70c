"""A JSON array: cut into its elements as it streams past; each is then read like a line of JSON Lines.

Cutting looks only at quotes and brackets, so it is quick; whether an element is good JSON, its own check tells.
"""

import re
from collections.abc import Iterator
from itertools import chain

from stoker_dataset_gateway.checking.faults import RowFaulty
from stoker_dataset_gateway.checking.limits import CheckLimits
from stoker_dataset_gateway.checking.readers.batches import Batch, FaultyRow, JsonBatch
from stoker_dataset_gateway.checking.readers.json_lines import read_json_lines
from stoker_dataset_gateway.checking.rules import FaultCode

# Possessive throughout (++, *+): no input makes them go back, so time is linear.
_STRING = rb'"(?:[^"\\]++|\\.)*+"'
_PLAIN = rb'[^"\[\]{}]++|' + _STRING
_SHALLOW = rb"[{\[](?:" + _PLAIN + rb")*+[}\]]"
for _ in range(3):
    _SHALLOW = rb"[{\[](?:" + _PLAIN + rb"|" + _SHALLOW + rb")*+[}\]]"
_OBJECT = re.compile(rb"(?=\{)" + _SHALLOW, re.DOTALL)
_TO_BRACKET = re.compile(rb"(?:" + _PLAIN + rb")*+", re.DOTALL)
_SCALAR = re.compile(rb'[^\s,\[\]{}"]++')
_STRING_ALONE = re.compile(_STRING, re.DOTALL)
_SPACE = re.compile(rb"[ \t\r\n]*+")
_BATCH_ROWS = 4000


def read_json(blocks: Iterator[bytes], limits: CheckLimits) -> Iterator[Batch]:
    """A `.json` file: an array, or JSON Lines under another name, told apart by the first character.

    Raises:
        RowFaulty: neither, or the array is broken.
    """
    start = b""
    for block in blocks:
        start += block
        if start.strip():
            break
        # White space may go on for long; only its lines count.
        start = start if len(start) < limits.line_bytes else b"\n" * start.count(b"\n")
    rejoined = chain((start,), blocks)
    if start.lstrip().startswith(b"["):
        yield from _Splitter(rejoined, limit=limits.line_bytes).batches()
        return
    is_first = True
    for batch in read_json_lines(rejoined, limits):
        if is_first and _is_cut_object(batch):
            raise RowFaulty(FaultCode.SINGLE_OBJECT)
        is_first = is_first and not (isinstance(batch, JsonBatch) and any(row.strip() for row in batch.rows))
        yield batch


def _is_cut_object(batch: Batch) -> bool:
    """Whether the first line that is not empty begins an object and does not end it."""
    if isinstance(batch, FaultyRow):
        return batch.start.lstrip().startswith(b"{")
    rows = batch.rows if isinstance(batch, JsonBatch) else ()
    first = next((row.strip() for row in rows if row.strip()), b"")
    return first == b"{" or (first.startswith(b"{") and first.endswith((b"[", b"{", b",", b":")))


class _Splitter:
    """The buffer holds what is not yet given away: at most an element and a block."""

    def __init__(self, blocks: Iterator[bytes], *, limit: int) -> None:
        self._blocks = blocks
        self._limit = limit
        self._buffer = b""
        self._position = 0
        self._line = 1
        self._rows = 0

    def batches(self) -> Iterator[Batch]:
        """The elements. Raises RowFaulty when the array is broken."""
        self._next_is(b"[")
        lines: list[int] = []
        rows: list[bytes] = []
        is_end = self._peek() == b"]"
        try:
            while not is_end:
                self._peek()
                lines.append(self._line)
                rows.append(self._element())
                self._rows += 1
                is_end = self._separator()
                if len(rows) >= _BATCH_ROWS:
                    yield JsonBatch(lines, rows)
                    lines, rows = [], []
        except RowFaulty:
            yield JsonBatch(lines[: len(rows)], rows)
            raise
        yield JsonBatch(lines, rows)
        if not self._rows:
            self._next_is(b"]")
        if self._peek():
            raise self._broken("something follows its end")

    def _element(self) -> bytes:
        while True:
            end = self._end_of_element()
            if end is not None:
                return self._take(end)
            if len(self._buffer) - self._position > self._limit:
                raise RowFaulty(FaultCode.LINE_TOO_LONG, limit=self._limit, at_line=self._line, at_row=self._rows + 1)
            if not self._more():
                raise self._broken("the file ends inside of an element")

    def _end_of_element(self) -> int | None:
        """Where the element ends, None if more bytes are needed."""
        match = _OBJECT.match(self._buffer, self._position)
        if match:
            return self._within_limit(match.end())
        first = self._buffer[self._position : self._position + 1]
        if first in b"{[":
            return self._within_limit(self._closing_bracket())
        if first == b'"':
            match = _STRING_ALONE.match(self._buffer, self._position)
            return self._within_limit(match.end() if match else None)
        match = _SCALAR.match(self._buffer, self._position)
        if match is None:
            raise self._broken(f"expected an element, found {first.decode('latin-1')!r}")
        return self._within_limit(match.end() if match.end() < len(self._buffer) else None)

    def _within_limit(self, end: int | None) -> int | None:
        # Beyond the limit it counts as not ended, in however many blocks the file came.
        return end if end is not None and end - self._position <= self._limit else None

    def _closing_bracket(self) -> int | None:
        depth, position = 0, self._position
        while True:
            match = _TO_BRACKET.match(self._buffer, position)
            position = match.end() if match else position
            bracket = self._buffer[position : position + 1]
            if not bracket or bracket == b'"':
                return None
            depth += 1 if bracket in b"{[" else -1
            position += 1
            if depth == 0:
                return position

    def _separator(self) -> bool:
        """Whether the array ends here; else there is a comma."""
        found = self._peek()
        if found not in (b",", b"]"):
            after = f"found {found.decode('latin-1')!r}" if found else "the file ends"
            raise self._broken(f"expected a comma or the closing bracket, {after}")
        self._take(self._position + 1)
        return found == b"]"

    def _next_is(self, wanted: bytes) -> None:
        if self._peek() != wanted:
            raise self._broken(f"expected {wanted.decode()}")
        self._take(self._position + 1)

    def _peek(self) -> bytes:
        """The next byte that is no white space, empty at the end."""
        while True:
            match = _SPACE.match(self._buffer, self._position)
            self._take(match.end() if match else self._position)
            if self._position < len(self._buffer) or not self._more():
                return self._buffer[self._position : self._position + 1]

    def _take(self, end: int) -> bytes:
        taken = self._buffer[self._position : end]
        self._line += taken.count(b"\n")
        self._position = end
        return taken

    def _more(self) -> bool:
        block = next(self._blocks, b"")
        while not block:
            following = next(self._blocks, None)
            if following is None:
                return False
            block = following
        self._buffer = self._buffer[self._position :] + block
        self._position = 0
        return True

    def _broken(self, reason: str) -> RowFaulty:
        return RowFaulty(FaultCode.BROKEN_ARRAY, after=self._rows, reason=reason, at_line=self._line)

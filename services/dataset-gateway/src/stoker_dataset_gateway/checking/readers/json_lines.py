"""JSON Lines: cutting a stream of bytes at its line breaks, never holding more than one line and one block."""

from collections.abc import Iterator

from stoker_dataset_gateway.checking.faults import RowFaulty
from stoker_dataset_gateway.checking.limits import CheckLimits
from stoker_dataset_gateway.checking.readers.batches import START_BYTES, Batch, FaultyRow, JsonBatch
from stoker_dataset_gateway.checking.rules import FaultCode


def read_json_lines(blocks: Iterator[bytes], limits: CheckLimits) -> Iterator[Batch]:
    """Lines end at a line feed, as for every reader of JSON Lines. They count from 1."""
    number, rest = 1, _Rest(limits.line_bytes)
    for block in blocks:
        end = block.rfind(b"\n")
        if end < 0:
            rest.hold(block)
            continue
        if rest.is_too_long:
            yield _too_long(number, rest.content(), limits.line_bytes)
            first = block.find(b"\n")
            lines, number = block[first + 1 : end].split(b"\n") if first < end else [], number + 1
        else:
            lines = (rest.content() + block[:end]).split(b"\n")
        yield from _batches(lines, number, limits.line_bytes)
        number += len(lines)
        rest = _Rest(limits.line_bytes)
        rest.hold(block[end + 1 :])
    if rest.is_too_long:
        yield _too_long(number, rest.content(), limits.line_bytes)
    elif content := rest.content():
        yield JsonBatch((number,), (content,))


class _Rest:
    """The line whose end has not come; of one that is too long only the start is kept, for the excerpt."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._pieces: list[bytes] = []
        self._length = 0

    @property
    def is_too_long(self) -> bool:
        return self._length > self._limit

    def hold(self, piece: bytes) -> None:
        self._length += len(piece)
        self._pieces.append(piece)
        if self.is_too_long:
            self._pieces = [b"".join(self._pieces)[:START_BYTES]]

    def content(self) -> bytes:
        return b"".join(self._pieces)


def _batches(lines: list[bytes], number: int, limit: int) -> Iterator[Batch]:
    if max(map(len, lines), default=0) <= limit:
        yield JsonBatch(range(number, number + len(lines)), lines)
        return
    for line in lines:
        yield JsonBatch((number,), (line,)) if len(line) <= limit else _too_long(number, line, limit)
        number += 1


def _too_long(number: int, start: bytes, limit: int) -> FaultyRow:
    return FaultyRow(number, RowFaulty(FaultCode.LINE_TOO_LONG, limit=limit), start[:START_BYTES])

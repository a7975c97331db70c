"""JSON Lines: cutting a stream of bytes at its line breaks, never holding more than one line and one block."""

from collections.abc import Iterator

from stoker_dataset_gateway.checking.faults import RowFaulty
from stoker_dataset_gateway.checking.limits import CheckLimits
from stoker_dataset_gateway.checking.readers.batches import START_BYTES, Batch, FaultyRow, JsonBatch
from stoker_dataset_gateway.checking.rules import FaultCode


def read_json_lines(blocks: Iterator[bytes], limits: CheckLimits) -> Iterator[Batch]:
    """Lines end at a line feed, as for every reader of JSON Lines. They count from 1."""
    number, rest, is_too_long = 1, b"", False
    for block in blocks:
        end = block.rfind(b"\n")
        if end < 0:
            rest, is_too_long = _hold(rest + block, limits.line_bytes, is_too_long=is_too_long)
            continue
        if is_too_long:
            # Nobody looks at the rest of a line that is too long; its start is kept for the excerpt.
            yield _too_long(number, rest, limits.line_bytes)
            first = block.find(b"\n")
            lines, number = block[first + 1 : end].split(b"\n") if first < end else [], number + 1
        else:
            lines = (rest + block[:end]).split(b"\n")
        yield from _batches(lines, number, limits.line_bytes)
        number += len(lines)
        rest, is_too_long = _hold(block[end + 1 :], limits.line_bytes, is_too_long=False)
    if is_too_long:
        yield _too_long(number, rest, limits.line_bytes)
    elif rest:
        yield JsonBatch((number,), (rest,))


def _hold(rest: bytes, limit: int, *, is_too_long: bool) -> tuple[bytes, bool]:
    is_too_long = is_too_long or len(rest) > limit
    return (rest[:START_BYTES] if is_too_long else rest), is_too_long


def _batches(lines: list[bytes], number: int, limit: int) -> Iterator[Batch]:
    if max(map(len, lines), default=0) <= limit:
        yield JsonBatch(range(number, number + len(lines)), lines)
        return
    for line in lines:
        yield JsonBatch((number,), (line,)) if len(line) <= limit else _too_long(number, line, limit)
        number += 1


def _too_long(number: int, start: bytes, limit: int) -> FaultyRow:
    return FaultyRow(number, RowFaulty(FaultCode.LINE_TOO_LONG, limit=limit), start[:START_BYTES])

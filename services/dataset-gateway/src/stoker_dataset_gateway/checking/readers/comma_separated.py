"""CSV: cells are text, lists of turns in cells are JSON."""

import csv
from collections.abc import Iterator
from typing import Any

from stoker_dataset_gateway.checking.faults import RowFaulty
from stoker_dataset_gateway.checking.json_rows import parse_value
from stoker_dataset_gateway.checking.limits import CheckLimits
from stoker_dataset_gateway.checking.readers.batches import START_BYTES, Batch, FaultyRow, JsonBatch, TableBatch
from stoker_dataset_gateway.checking.readers.json_lines import read_json_lines
from stoker_dataset_gateway.checking.rules import FaultCode

ALWAYS_TURNS = ("messages", "conversations")
PERHAPS_TURNS = ("prompt", "completion", "chosen", "rejected")
"""Columns whose cells may hold turns as JSON. In the second kind only what names a role is taken for turns, since an
answer may well be JSON itself."""
LABELS = {
    "true": True,
    "True": True,
    "TRUE": True,
    "1": True,
    "false": False,
    "False": False,
    "FALSE": False,
    "0": False,
}
_BATCH_ROWS = 1000
_LARGEST_FIELD = 2**31 - 1


def read_csv(blocks: Iterator[bytes], limits: CheckLimits) -> Iterator[Batch]:
    """Records with the line in which each begins.

    Raises:
        RowFaulty: no CSV, or no usable header.
    """
    csv.field_size_limit(min(limits.line_bytes, _LARGEST_FIELD))
    lines = _Lines(blocks, limits)
    records = csv.reader(lines, strict=True)
    header: list[str] | None = None
    numbers: list[int] = []
    rows: list[dict[str, Any] | RowFaulty] = []
    try:
        for cells in records:
            line, fault = lines.begin_next()
            if not cells:
                continue
            if header is None:
                header = _header(cells, fault)
                continue
            numbers.append(line)
            rows.append(fault or _row(header, cells))
            if len(rows) >= _BATCH_ROWS:
                yield TableBatch(numbers, rows)
                numbers, rows = [], []
    except csv.Error as error:
        yield TableBatch(numbers, rows)
        raise RowFaulty(FaultCode.BROKEN_CSV, reason=str(error), at_line=lines.first) from None
    except RowFaulty:
        yield TableBatch(numbers, rows)
        raise
    yield TableBatch(numbers, rows)


class _Lines:
    """Lines as the csv module wants them, which takes several for a record whose cells hold line breaks."""

    def __init__(self, blocks: Iterator[bytes], limits: CheckLimits) -> None:
        self.first = 1
        self._batches = read_json_lines(blocks, limits)
        self._limit = limits.line_bytes
        self._number = 0
        self._taken = 0
        self._fault: RowFaulty | None = None
        self._lines = self._decoded()

    def __iter__(self) -> Iterator[str]:
        return self._lines

    def begin_next(self) -> tuple[int, RowFaulty | None]:
        """The line in which the record just read began, and what is wrong with its bytes."""
        found = self.first, self._fault
        self.first, self._fault, self._taken = self._number + 1, None, 0
        return found

    def _decoded(self) -> Iterator[str]:
        for batch in self._batches:
            if isinstance(batch, FaultyRow):
                raise RowFaulty(FaultCode.LINE_TOO_LONG, limit=self._limit, at_line=batch.line)
            assert isinstance(batch, JsonBatch)  # noqa: S101 - the reader of lines gives nothing else
            for number, line in zip(batch.lines, batch.rows, strict=True):
                self._number = number
                self._taken += len(line)
                if self._taken > self._limit:
                    raise RowFaulty(FaultCode.LINE_TOO_LONG, limit=self._limit, at_line=self.first)
                yield self._text(line) + "\n"

    def _text(self, line: bytes) -> str:
        try:
            return line.decode()
        except UnicodeDecodeError as error:
            byte = line[error.start]
            self._fault = RowFaulty(FaultCode.NOT_UTF8, position=error.start + 1, what="line", byte=byte)
            return line.decode("utf-8", "replace")


def _header(cells: list[str], fault: RowFaulty | None) -> list[str]:
    if fault is not None:
        raise RowFaulty(FaultCode.NOT_UTF8_FILE, found="not UTF-8 in its header")
    for name in cells:
        if cells.count(name) > 1:
            raise RowFaulty(FaultCode.DUPLICATE_COLUMN, name=name[:START_BYTES], at_line=1)
    return cells


def _row(header: list[str], cells: list[str]) -> dict[str, Any] | RowFaulty:
    if len(cells) != len(header):
        return RowFaulty(FaultCode.RAGGED_ROW, found=len(cells), expected=len(header))
    values: dict[str, Any] = dict(zip(header, cells, strict=True))
    for column in ALWAYS_TURNS + PERHAPS_TURNS:
        if values.get(column, "").lstrip()[:1] == "[":
            values[column] = _turns_or_text(values[column], needs_role=column in PERHAPS_TURNS)
    if "label" in values:
        values["label"] = LABELS.get(values["label"], values["label"])
    return values


def _turns_or_text(cell: str, *, needs_role: bool) -> Any:
    """The list of objects that the cell holds, or the cell."""
    try:
        value = parse_value(cell.strip())
    except RowFaulty:
        return cell
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        return cell
    return value if not needs_role or any("role" in item for item in value) else cell

"""What readers give: rows, some at a time."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from stoker_dataset_gateway.checking.faults import RowFaulty


class JsonBatch(NamedTuple):
    """Rows as JSON, and the line of the file in which each begins. Rows of white space only are none."""

    lines: Sequence[int]
    rows: Sequence[bytes]


class TableBatch(NamedTuple):
    """Rows as values by column, or what is wrong with them; `lines` are 0 where the file has none."""

    lines: Sequence[int]
    rows: Sequence[dict[str, Any] | RowFaulty]


class FaultyRow(NamedTuple):
    """A row that cannot be read, and how it begins."""

    line: int
    fault: RowFaulty
    start: bytes = b""


Batch = JsonBatch | TableBatch | FaultyRow

START_BYTES = 200
"""Of a row that is shown in a fault."""

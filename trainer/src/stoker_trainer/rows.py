"""Reading a data file row by row in bounded memory, strictly: what is wrong is named by its line or row."""

import codecs
import csv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from stoker_trainer.conversion import LOST_BY_CONVERSION
from stoker_trainer.errors import DatasetUnreadable
from stoker_trainer.json_rows import (
    DECODER,
    MAX_ROW_BYTES,
    Row,
    numbered_lines,
    read_json_array,
    read_json_lines,
)
from stoker_trainer.packing import open_unpacked, packing_of
from stoker_trainer.tables import read_arrow, read_parquet

READ_COLUMNS = frozenset(
    {
        *("messages", "prompt", "completion", "text", "chosen", "rejected", "label"),
        *("conversations", "instruction", "input", "output", "question", "answer", "response", "query"),
        *LOST_BY_CONVERSION,
    }
)
"""Columns that mean something to some format; others are not read where the file kind lets us choose."""

ALWAYS_TURNS = frozenset({"messages", "conversations"})
PERHAPS_TURNS = frozenset({"prompt", "completion", "chosen", "rejected"})
"""Columns in which a CSV cell may hold turns as JSON. In the second kind only what names a role is taken for turns:
an answer may well be JSON itself."""


def read_rows(path: Path) -> Iterator[Row]:
    """Rows of a JSON Lines, JSON array, CSV, Parquet or Arrow file, each plain, gzipped (.gz) or zstd (.zst).

    Raises DatasetUnreadable naming the line; unlike common JSON loaders it stops at invalid UTF-8,
    at duplicate keys and at NaN, which would otherwise train on something nobody wrote.
    """
    bare = path.with_suffix("") if packing_of(path) else path
    return READERS.get(bare.suffix.lower(), _read_lines)(path)


def _read_lines(path: Path) -> Iterator[Row]:
    with open_unpacked(path) as file:
        yield from read_json_lines(file)


def _read_json(path: Path) -> Iterator[Row]:
    with open_unpacked(path) as file:
        is_array = next((line for line in _without_mark(file) if line.strip()), b"").lstrip().startswith(b"[")
    with open_unpacked(path) as file:
        yield from read_json_array(file) if is_array else read_json_lines(file)


def _without_mark(file: BinaryIO) -> Iterator[bytes]:
    """Pieces of the file, at most a KiB each, without a byte order mark."""
    yield file.readline(1024).removeprefix(codecs.BOM_UTF8)
    while piece := file.readline(1024):
        yield piece


def _read_csv(path: Path) -> Iterator[Row]:
    csv.field_size_limit(MAX_ROW_BYTES)  # of the process; by default a cell ends at 128 KiB
    with open_unpacked(path) as file:
        reader = csv.reader((line for _, line in numbered_lines(file)), strict=True)
        try:
            yield from _csv_rows(reader)
        except csv.Error as error:
            raise DatasetUnreadable(f"line {reader.line_num}: not valid CSV: {error}") from error


def _csv_rows(reader: Any) -> Iterator[Row]:
    header: list[str] = next((cells for cells in reader if cells), [])
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise DatasetUnreadable(f"line 1: the column {twice[0]!r} stands there twice")
    last_line = reader.line_num
    for cells in reader:
        place, last_line = f"line {last_line + 1}", reader.line_num
        if not cells:
            continue
        if len(cells) != len(header):
            raise DatasetUnreadable(f"{place}: {len(cells)} cells, but the header has {len(header)} columns")
        yield Row(place, {name: _cell(name, text) for name, text in zip(header, cells, strict=True)})


def _cell(column: str, text: str) -> Any:
    """The text, or the turns if it is a JSON list of such."""
    may_be_turns = column in ALWAYS_TURNS or column in PERHAPS_TURNS
    if not may_be_turns or not text.lstrip().startswith("["):
        return text
    try:
        items = DECODER.decode(text.strip())
    except (ValueError, RecursionError):
        return text
    if not all(isinstance(item, dict) for item in items):
        return text
    return items if column in ALWAYS_TURNS or any("role" in item for item in items) else text


READERS: dict[str, Callable[[Path], Iterator[Row]]] = {
    ".jsonl": _read_lines,
    ".ndjson": _read_lines,
    ".json": _read_json,
    ".csv": _read_csv,
    ".parquet": lambda path: read_parquet(path, READ_COLUMNS),
    ".arrow": lambda path: read_arrow(path, READ_COLUMNS),
    ".feather": lambda path: read_arrow(path, READ_COLUMNS),
}
"""What reads a file, by the end of its name before .gz or .zst; other names are taken for JSON Lines."""

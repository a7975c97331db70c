"""Reading a data file row by row, strictly: what is wrong is named by its line."""

import csv
import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from stoker_trainer.errors import DatasetUnreadable


class Row(NamedTuple):
    """One row and where it stands: a line of the file, or a row number where lines mean nothing."""

    place: str
    values: dict[str, Any]


def read_rows(path: Path) -> Iterator[Row]:
    """Rows of a .jsonl, .json, .csv or .parquet file, the first three also gzipped.

    Raises DatasetUnreadable naming the line; unlike common JSON loaders it stops at invalid UTF-8,
    at duplicate keys and at NaN, which would otherwise train on something nobody wrote.
    """
    suffixes = [suffix.lower() for suffix in path.suffixes]
    kind = next((suffix for suffix in reversed(suffixes) if suffix != ".gz"), ".jsonl")
    reader = {".csv": _read_csv, ".parquet": _read_parquet, ".json": _read_json}.get(kind, _read_json_lines)
    try:
        yield from reader(path)
    except (FileNotFoundError, IsADirectoryError) as error:
        raise DatasetUnreadable(f"there is no data file at {path}") from error
    except (gzip.BadGzipFile, EOFError) as error:
        raise DatasetUnreadable(f"{path.name} is not a whole gzip file: {error}. Compress it again.") from error


def _open_bytes(path: Path) -> Any:
    return gzip.open(path, "rb") if path.suffix.lower() == ".gz" else path.open("rb")


def _read_json_lines(path: Path) -> Iterator[Row]:
    with _open_bytes(path) as file:
        for number, line in enumerate(file, start=1):
            text = _decode(line, f"line {number}").strip()
            if text:
                yield _row(_parse_json(text, f"line {number}"), f"line {number}")


def _read_json(path: Path) -> Iterator[Row]:
    with _open_bytes(path) as file:
        start = file.read(64).decode("utf-8", errors="ignore").lstrip("\ufeff \t\r\n")
    if not start.startswith("["):
        yield from _read_json_lines(path)
        return
    with _open_bytes(path) as file:
        document = _parse_json(_decode(file.read(), "the file"), "the file")
    for number, item in enumerate(document, start=1):
        yield _row(item, f"row {number}")


def _read_csv(path: Path) -> Iterator[Row]:
    with _open_bytes(path) as file:
        lines = (_decode(line, f"line {number}") for number, line in enumerate(file, start=1))
        reader = csv.DictReader(lines, strict=True)
        try:
            for values in reader:
                if None in values:
                    raise DatasetUnreadable(f"line {reader.line_num}: more cells than the header has columns")
                yield Row(f"line {reader.line_num}", values)
        except csv.Error as error:
            raise DatasetUnreadable(f"line {reader.line_num}: not valid CSV: {error}") from error


def _read_parquet(path: Path) -> Iterator[Row]:
    from pyarrow import ArrowInvalid, parquet  # type: ignore[import-untyped]

    try:
        batches = parquet.ParquetFile(path).iter_batches(batch_size=1000)
        rows = (values for batch in batches for values in batch.to_pylist())
        for number, values in enumerate(rows, start=1):
            yield Row(f"row {number}", values)
    except ArrowInvalid as error:
        raise DatasetUnreadable(f"{path.name} is not a Parquet file: {error}") from error


def _decode(line: bytes, place: str) -> str:
    try:
        return line.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DatasetUnreadable(
            f"{place}: byte {error.start + 1} is not UTF-8 (0x{line[error.start]:02x}). Save the file as UTF-8."
        ) from error


def _parse_json(text: str, place: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_without_duplicates, parse_constant=_no_constant)
    except RecursionError as error:
        raise DatasetUnreadable(f"{place}: JSON nested too deeply") from error
    except ValueError as error:
        raise DatasetUnreadable(f"{place}: not valid JSON: {error}") from error


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        names = [name for name, _ in pairs]
        twice = sorted({name for name in names if names.count(name) > 1})
        raise ValueError(f"the key {twice[0]!r} stands there twice")
    return values


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _row(values: object, place: str) -> Row:
    if not isinstance(values, dict):
        raise DatasetUnreadable(f"{place}: expected an object, found {type(values).__name__}")
    return Row(place, values)

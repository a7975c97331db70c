"""Parquet and Arrow: rows of columns, from a temporary file, since their readers jump about in it."""

import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from stoker_dataset_gateway.checking.faults import RowFaulty
from stoker_dataset_gateway.checking.formats import COLUMNS_THAT_COUNT, layout_of
from stoker_dataset_gateway.checking.limits import CheckLimits
from stoker_dataset_gateway.checking.readers.batches import Batch, TableBatch
from stoker_dataset_gateway.checking.rules import FaultCode

_ARROW_MAGIC = b"ARROW1"
_ROWS_AT_ONCE = 256
_BUFFER_BYTES = 2**20
_ANSWERS_OF_ARROW = (pa.ArrowException, OSError, ValueError, TypeError, OverflowError, LookupError)
"""What pyarrow raises of a broken file: there is no common base."""


def read_parquet(blocks: Iterator[bytes], _limits: CheckLimits) -> Iterator[Batch]:
    """Rows of a Parquet file.

    Raises:
        RowFaulty: it is none, or broken.
    """
    with (
        _spooled(blocks) as path,
        _named(FaultCode.NOT_PARQUET),
        # With buffer_size, a row group of any size streams past.
        parquet.ParquetFile(path, buffer_size=_BUFFER_BYTES, pre_buffer=False) as file,
    ):
        names = file.schema_arrow.names
        columns = _wanted(names)
        batches = file.iter_batches(batch_size=_ROWS_AT_ONCE, columns=columns) if columns else None
        yield from _rows(batches, names, total=file.metadata.num_rows)


def read_arrow(blocks: Iterator[bytes], _limits: CheckLimits) -> Iterator[Batch]:
    """Rows of an Arrow IPC file or stream, told apart by their first bytes.

    Raises:
        RowFaulty: it is neither, or broken.
    """
    with _spooled(blocks) as path, _named(FaultCode.NOT_ARROW), pa.memory_map(path) as source:
        if source.size() == 0:
            return
        is_file = source.read(len(_ARROW_MAGIC)) == _ARROW_MAGIC
        source.seek(0)
        reader = pa.ipc.open_file(source) if is_file else pa.ipc.open_stream(source)
        names = reader.schema.names
        columns = _wanted(names)
        batches = (reader.get_batch(number) for number in range(reader.num_record_batches)) if is_file else reader
        if columns:
            yield from _rows(_slices(batches, columns), names, total=0)
        else:
            yield from _rows(None, names, total=sum(batch.num_rows for batch in batches))


@contextmanager
def _spooled(blocks: Iterator[bytes]) -> Iterator[str]:
    with tempfile.NamedTemporaryFile(prefix="stoker-check-") as file:
        for block in blocks:
            file.write(block)
        file.flush()
        yield file.name


@contextmanager
def _named(code: FaultCode) -> Iterator[None]:
    try:
        yield
    except _ANSWERS_OF_ARROW as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # of the disk, not of the file
        raise RowFaulty(code, reason=str(error).partition("\n")[0][:200].rstrip(".")) from None


def _wanted(names: list[str]) -> list[str]:
    for name in names:
        if names.count(name) > 1:
            raise RowFaulty(FaultCode.DUPLICATE_COLUMN, name=name)
    # What does not count is not even read: it may be images. Without a layout the names alone tell what is wrong.
    return [name for name in names if name in COLUMNS_THAT_COUNT] if layout_of(names) else []


def _slices(batches: Iterable[Any], columns: list[str]) -> Iterator[Any]:
    for batch in batches:
        # The buffers of a stranger: offsets that lead outside would end the process.
        batch.validate(full=True)
        chosen = batch.select(columns)
        yield from (chosen.slice(start, _ROWS_AT_ONCE) for start in range(0, batch.num_rows, _ROWS_AT_ONCE))


def _rows(batches: Iterable[Any] | None, names: list[str], *, total: int) -> Iterator[Batch]:
    if batches is None:
        for start in range(0, total, _ROWS_AT_ONCE):
            count = min(_ROWS_AT_ONCE, total - start)
            yield TableBatch((0,) * count, [dict.fromkeys(names) for _ in range(count)])
        return
    for batch in batches:
        rows: list[dict[str, Any] | RowFaulty] = _values(batch.to_pylist, batch)
        yield TableBatch((0,) * len(rows), rows)


def _values(whole: Callable[[], list[dict[str, Any]]], batch: Any) -> list[dict[str, Any] | RowFaulty]:
    try:
        return [*whole()]
    except UnicodeDecodeError:
        return [_value(batch.slice(number, 1)) for number in range(batch.num_rows)]


def _value(row: Any) -> dict[str, Any] | RowFaulty:
    try:
        values: dict[str, Any] = row.to_pylist()[0]
    except UnicodeDecodeError as error:
        byte = error.object[error.start]
        return RowFaulty(FaultCode.NOT_UTF8, position=error.start + 1, what="text", byte=byte)
    return values

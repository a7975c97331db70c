"""Rows of Parquet and Arrow files, a few at a time."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from stoker_trainer.errors import DatasetUnreadable
from stoker_trainer.json_rows import Row, not_utf8
from stoker_trainer.packing import plain_file

ROWS_AT_ONCE = 256
ARROW_MAGIC = b"ARROW1"


def read_parquet(path: Path, columns: frozenset[str]) -> Iterator[Row]:
    """Rows of a Parquet file; other columns than `columns` are not even read. Raises DatasetUnreadable."""
    from pyarrow import parquet

    with plain_file(path) as plain, _named_errors(path, "Parquet"):
        # With buffer_size, a row group of any size streams past.
        file = parquet.ParquetFile(plain, buffer_size=1 << 20, pre_buffer=False)
        wanted = _wanted(path, file.schema_arrow.names, columns)
        yield from _rows(file.iter_batches(batch_size=ROWS_AT_ONCE, columns=wanted))


def read_arrow(path: Path, columns: frozenset[str]) -> Iterator[Row]:
    """Rows of an Arrow IPC file or stream, told apart by their first bytes. Raises DatasetUnreadable."""
    import pyarrow as pa

    with plain_file(path) as plain, _named_errors(path, "Arrow"), pa.memory_map(str(plain)) as source:
        is_file = source.read(len(ARROW_MAGIC)) == ARROW_MAGIC
        source.seek(0)
        reader = pa.ipc.open_file(source) if is_file else pa.ipc.open_stream(source)
        wanted = _wanted(path, reader.schema.names, columns)
        batches = (reader.get_batch(number) for number in range(reader.num_record_batches)) if is_file else reader
        yield from _rows(piece for batch in batches for piece in _pieces(batch, wanted))


def _wanted(path: Path, names: list[str], columns: frozenset[str]) -> list[str]:
    """Those of `columns` that are there; all, if none is, so that a fault can name what is."""
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DatasetUnreadable(f"{path.name} has the column {twice[0]!r} twice. Keep one of the two.")
    return [name for name in names if name in columns] or names


def _pieces(batch: Any, columns: list[str]) -> Iterator[Any]:
    batch.validate(full=True)  # offsets that lead outside would end the process without a word
    chosen = batch.select(columns)
    return (chosen.slice(start, ROWS_AT_ONCE) for start in range(0, batch.num_rows, ROWS_AT_ONCE))


def _rows(batches: Iterable[Any]) -> Iterator[Row]:
    number = 0
    for batch in batches:
        try:
            found = batch.to_pylist()
        except UnicodeDecodeError as error:
            raise _text_fault(batch, first=number + 1) from error
        for values in found:
            number += 1
            yield Row(f"row {number}", values)


def _text_fault(batch: Any, *, first: int) -> DatasetUnreadable:
    for offset in range(batch.num_rows):
        try:
            batch.slice(offset, 1).to_pylist()
        except UnicodeDecodeError as error:
            return not_utf8(f"row {first + offset}, a text", error)
    raise AssertionError("only called for a batch with such a row")


@contextmanager
def _named_errors(path: Path, kind: str) -> Iterator[None]:
    from pyarrow import ArrowException

    try:
        yield
    except (FileNotFoundError, IsADirectoryError) as error:
        raise DatasetUnreadable(f"there is no data file at {path}") from error
    # What pyarrow raises of broken files has no base of its own: UnicodeDecodeError of names, OSError of pages, ...
    except (ArrowException, OSError, ValueError, TypeError, OverflowError, LookupError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # of the disk, not of the file
        raise DatasetUnreadable(f"{path.name} is not a whole {kind} file: {error}") from error

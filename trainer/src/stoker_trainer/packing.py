"""Unpacking gzip and zstd as a stream, or into a file where a reader must jump about."""

import gzip
import io
import os
import shutil
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from stoker_trainer.errors import DatasetUnreadable
from stoker_trainer.files import CHUNK_BYTES

PACKINGS: dict[str, str] = {".gz": "gzip", ".zst": "zstd"}
"""Last part of the name of a packed file, and what it is packed with."""


def packing_of(path: Path) -> str | None:
    """`gzip`, `zstd`, or None for a plain file."""
    return PACKINGS.get(path.suffix.lower())


@contextmanager
def open_unpacked(path: Path) -> Iterator[BinaryIO]:
    """The plain bytes, read forwards only. Raises DatasetUnreadable when the archive is broken or cut."""
    packing = packing_of(path)
    try:
        with _open(path, packing) as file:
            yield file
    except (FileNotFoundError, IsADirectoryError) as error:
        raise DatasetUnreadable(f"there is no data file at {path}") from error
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise _broken(path, "gzip", error) from error
    except OSError as error:
        # pyarrow has no class of its own for a broken archive; an error of the disk has a number.
        if packing != "zstd" or error.errno is not None:
            raise
        raise _broken(path, packing, error) from error


@contextmanager
def plain_file(path: Path) -> Iterator[Path]:
    """A plain file with the same content: the file itself, or one that is unpacked for as long as it is needed."""
    if packing_of(path) is None:
        yield path
        return
    # Beside the data, where there is room for it; /tmp of a pod may be small or in memory.
    folder = path.parent if os.access(path.parent, os.W_OK) else None
    with tempfile.NamedTemporaryFile(dir=folder, prefix=f".{path.stem}.", suffix=".unpacked") as target:
        with open_unpacked(path) as source:
            shutil.copyfileobj(source, target, CHUNK_BYTES)
        target.flush()
        yield Path(target.name)


def _open(path: Path, packing: str | None) -> BinaryIO:
    if packing == "gzip":
        return cast("BinaryIO", gzip.open(path, "rb"))
    if packing == "zstd":
        import pyarrow as pa

        path.stat()  # for the same errors as from open()
        stream = pa.CompressedInputStream(pa.OSFile(str(path)), "zstd")
        return cast("BinaryIO", io.BufferedReader(stream, CHUNK_BYTES))
    return path.open("rb")


def _broken(path: Path, packing: str, error: Exception) -> DatasetUnreadable:
    return DatasetUnreadable(f"{path.name} is not a whole {packing} file: {error}. Compress it again.")

"""From the bytes of a file to its rows, kind by kind, a batch at a time."""

from collections.abc import Callable, Iterator

from stoker_dataset_gateway.checking.file_kinds import FileKind
from stoker_dataset_gateway.checking.limits import CheckLimits
from stoker_dataset_gateway.checking.readers.batches import Batch
from stoker_dataset_gateway.checking.readers.comma_separated import read_csv
from stoker_dataset_gateway.checking.readers.json_array import read_json
from stoker_dataset_gateway.checking.readers.json_lines import read_json_lines
from stoker_dataset_gateway.checking.readers.tables import read_arrow, read_parquet

READERS: dict[FileKind, Callable[[Iterator[bytes], CheckLimits], Iterator[Batch]]] = {
    FileKind.JSON_LINES: read_json_lines,
    FileKind.JSON: read_json,
    FileKind.CSV: read_csv,
    FileKind.PARQUET: read_parquet,
    FileKind.ARROW: read_arrow,
}
"""Each takes the unpacked bytes in blocks and may raise RowFaulty: the file cannot be read on."""

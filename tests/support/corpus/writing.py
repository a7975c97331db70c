"""Rows as the bytes of every kind of file, plain and packed."""

import csv
import gzip
import io
import json
from collections.abc import Callable
from typing import Any

import pyarrow as pa
from pyarrow import parquet

Rows = list[dict[str, Any]]


def json_lines(rows: list[Any]) -> bytes:
    """One value a line."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def json_array(rows: list[Any]) -> bytes:
    """One array over many lines."""
    return json.dumps(rows, indent=1, ensure_ascii=False).encode()


def csv_table(rows: Rows) -> bytes:
    """A header and a line each; texts as they are, everything else as JSON."""
    out = io.StringIO()
    writer = csv.DictWriter(out, rows[0].keys())
    writer.writeheader()
    writer.writerows({name: _cell(value) for name, value in row.items()} for row in rows)
    return out.getvalue().encode()


def parquet_table(rows: Rows) -> bytes:
    """Several row groups if there are many rows."""
    out = io.BytesIO()
    parquet.write_table(pa.Table.from_pylist(rows), out, row_group_size=300)
    return out.getvalue()


def arrow_file(rows: Rows) -> bytes:
    """The IPC file format."""
    table, out = pa.Table.from_pylist(rows), io.BytesIO()
    with pa.ipc.new_file(out, table.schema) as writer:
        writer.write_table(table, max_chunksize=300)
    return out.getvalue()


def arrow_stream(rows: Rows) -> bytes:
    """The IPC stream format, which `datasets` writes."""
    table, out = pa.Table.from_pylist(rows), io.BytesIO()
    with pa.ipc.new_stream(out, table.schema) as writer:
        writer.write_table(table, max_chunksize=300)
    return out.getvalue()


def zstd(content: bytes) -> bytes:
    """One zstd frame."""
    return bytes(pa.compress(content, codec="zstd", asbytes=True))


def gzipped(content: bytes) -> bytes:
    """One gzip member, the same bytes each time."""
    return gzip.compress(content, mtime=0)


KINDS: dict[str, tuple[str, Callable[[Rows], bytes]]] = {
    "json lines": (".jsonl", json_lines),
    "json array": (".json", json_array),
    "csv": (".csv", csv_table),
    "parquet": (".parquet", parquet_table),
    "arrow file": (".arrow", arrow_file),
    "arrow stream": (".arrow", arrow_stream),
}
PACKINGS: dict[str, Callable[[bytes], bytes]] = {"": lambda content: content, ".gz": gzipped, ".zst": zstd}


def _cell(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)

"""Files of every kind, packed in every way, that pass and train."""

import io

import pyarrow as pa
from pyarrow import parquet

from tests.support.corpus.case import Case, assistant, good_file, user
from tests.support.corpus.writing import (
    KINDS,
    PACKINGS,
    arrow_file,
    csv_table,
    gzipped,
    json_array,
    json_lines,
    parquet_table,
    zstd,
)

PAIRS = [
    {"prompt": f"Code word for {name}?\n", "completion": f"It is {name[::-1]}."} for name in ("ant", "bear", "cat")
]
CHATS = [{"messages": [user(row["prompt"]), assistant(row["completion"])]} for row in PAIRS]
BOM = "\ufeff".encode()

EVERY_KIND = [
    good_file(
        f"{kind}{packing and f', packed as {packing}'}",
        f"data{suffix}{packing}",
        pack(write(PAIRS)),
        "prompt_completion",
    )
    for kind, (suffix, write) in KINDS.items()
    for packing, pack in PACKINGS.items()
]


def _table(table: pa.Table) -> bytes:
    out = io.BytesIO()
    parquet.write_table(table, out)
    return out.getvalue()


def _lz4_stream(rows: list[dict[str, object]]) -> bytes:
    table, out = pa.Table.from_pylist(rows), io.BytesIO()
    with pa.ipc.new_stream(out, table.schema, options=pa.ipc.IpcWriteOptions(compression="lz4")) as writer:
        writer.write_table(table)
    return out.getvalue()


GOOD_FILES: list[Case] = [
    *EVERY_KIND,
    good_file("json lines under the name ndjson", "data.ndjson", json_lines(PAIRS), "prompt_completion"),
    good_file("json lines under the name json", "data.json", json_lines(PAIRS), "prompt_completion"),
    good_file("arrow file under the name feather", "data.feather", arrow_file(PAIRS), "prompt_completion"),
    good_file("name in capitals", "DATA.JSONL.GZ", gzipped(json_lines(PAIRS)), "prompt_completion"),
    good_file("byte order mark before json lines", "data.jsonl", BOM + json_lines(PAIRS), "prompt_completion"),
    good_file("byte order mark before an array", "data.json", BOM + json_array(PAIRS), "prompt_completion"),
    good_file("byte order mark before csv", "data.csv", BOM + csv_table(PAIRS), "prompt_completion"),
    good_file("carriage returns", "data.jsonl", json_lines(PAIRS).replace(b"\n", b"\r\n"), "prompt_completion"),
    good_file("empty lines", "data.jsonl", b"\n" + json_lines(PAIRS).replace(b"\n", b"\n \n"), "prompt_completion"),
    good_file("no line break at the end", "data.jsonl", json_lines(PAIRS).rstrip(), "prompt_completion"),
    good_file("array on one line", "data.json", json_array(PAIRS).replace(b"\n", b""), "prompt_completion"),
    good_file("array after much white space", "data.json", b" \n" * 900 + json_array(PAIRS), "prompt_completion"),
    good_file("csv with empty lines before the header", "data.csv", b"\n\n" + csv_table(PAIRS), "prompt_completion"),
    good_file("two gzip members", "data.jsonl.gz", gzipped(json_lines(PAIRS)) * 2, "prompt_completion"),
    good_file("two zstd frames", "data.jsonl.zst", zstd(json_lines(PAIRS)) * 2, "prompt_completion"),
    good_file("csv with line breaks in cells", "data.csv", b'text\n"one\ntwo"\n"say ""three"""\n', "text"),
    good_file("csv with empty lines and carriage returns", "data.csv", b"text\r\n\r\none\r\n\r\ntwo\r\n", "text"),
    good_file("csv with a cell above 128 KiB", "data.csv", b"text\n" + b"word " * 40_000 + b"\nmore\n", "text"),
    good_file("csv with a quote in a name", "data.csv", b'text,"say ""hi"""\na,b\nc,d\n', "text"),
    good_file("csv with turns as json", "data.csv", csv_table(CHATS), "messages"),
    good_file(
        "csv whose answers are json",
        "data.csv",
        csv_table([{"prompt": "List them.", "completion": '[{"name": "Ann", "age": 3}]'}] * 2),
        "prompt_completion",
    ),
    good_file("parquet with turns", "data.parquet", parquet_table(CHATS), "messages"),
    good_file(
        "parquet with null fields of turns",
        "data.parquet",
        parquet_table([{"messages": [user("hi"), {**assistant("hello"), "tool_calls": None, "name": "x"}]}] * 2),
        "messages",
    ),
    good_file(
        "parquet with other types of text",
        "data.parquet",
        _table(
            pa.table(
                {
                    "prompt": pa.array(["a", "b"], pa.large_string()),
                    "completion": pa.array(["c", "c"]).dictionary_encode(),
                    "picture": pa.array([b"\xff", None], pa.binary()),
                }
            )
        ),
        "prompt_completion",
    ),
    good_file("arrow stream with turns", "data.arrow", KINDS["arrow stream"][1](CHATS), "messages"),
    good_file("arrow stream packed inside", "data.arrow", _lz4_stream(PAIRS), "prompt_completion"),
]

"""Files that are broken as files: no row of them may be trained on."""

import io
import json
from dataclasses import replace

import pyarrow as pa
from pyarrow import parquet

from stoker_dataset_gateway.checking import CheckLimits
from tests.support.corpus.case import Case, bad_file
from tests.support.corpus.good_files import BOM, PAIRS
from tests.support.corpus.writing import (
    arrow_file,
    arrow_stream,
    csv_table,
    gzipped,
    json_array,
    json_lines,
    parquet_table,
    zstd,
)

LINES = json_lines(PAIRS)
MANY = [
    {"prompt": f"{row['prompt']} {number}", "completion": row["completion"]} for number in range(300) for row in PAIRS
]


def _flipped(content: bytes, at: int) -> bytes:
    return content[:at] + bytes([content[at] ^ 0x55]) + content[at + 1 :]


def _overwritten(content: bytes) -> bytes:
    return content[:20] + bytes(200) + content[220:]


def _text_that_is_not_utf8() -> bytes:
    table = pa.table({"text": pa.array([b"fine", b"caf\xe9"], pa.binary()).view(pa.string())})
    out = io.BytesIO()
    parquet.write_table(table, out)
    return out.getvalue()


def _column_twice() -> bytes:
    table, out = pa.table([["a", "b"], ["c", "d"]], names=["text", "text"]), io.BytesIO()
    with pa.ipc.new_file(out, table.schema) as writer:
        writer.write_table(table)
    return out.getvalue()


PACKED = [
    bad_file("plain under the name gz", "data.jsonl.gz", LINES, faults="not_gzip"),
    bad_file("plain under the name zst", "data.jsonl.zst", LINES, faults="not_zstd"),
    bad_file("gzip under the name zst", "data.jsonl.zst", gzipped(LINES), faults="not_zstd"),
    bad_file("gzip without its name", "data.jsonl", gzipped(LINES), faults="unnamed_gzip"),
    bad_file("zstd without its name", "data.jsonl", zstd(LINES), faults="unnamed_zstd"),
    bad_file("cut gzip", "data.jsonl.gz", gzipped(json_lines(MANY))[:-12], faults="broken_gzip"),
    bad_file(
        "gzip with a wrong checksum", "data.jsonl.gz", _flipped(gzipped(json_lines(MANY)), -7), faults="broken_gzip"
    ),
    bad_file("second gzip member cut", "data.jsonl.gz", gzipped(LINES) + gzipped(LINES)[:-9], faults="broken_gzip"),
    bad_file("text after gzip", "data.jsonl.gz", gzipped(LINES) + LINES, faults="broken_gzip"),
    bad_file("cut zstd", "data.jsonl.zst", zstd(json_lines(MANY))[:-12], faults="broken_zstd"),
    bad_file("text after zstd", "data.jsonl.zst", zstd(LINES) + LINES, faults="broken_zstd"),
    bad_file("cut gzip of parquet", "data.parquet.gz", gzipped(parquet_table(MANY))[:-12], faults="broken_gzip"),
    bad_file("cut zstd of csv", "data.csv.zst", zstd(csv_table(MANY))[:-12], faults="broken_zstd"),
]
TABLES = [
    bad_file("json lines under the name parquet", "data.parquet", LINES, faults="not_parquet"),
    bad_file("json lines under the name arrow", "data.arrow", LINES, faults="not_arrow"),
    bad_file("cut parquet", "data.parquet", parquet_table(MANY)[:-20], faults="not_parquet"),
    bad_file("parquet with broken pages", "data.parquet", _overwritten(parquet_table(MANY)), faults="not_parquet"),
    bad_file("cut arrow file", "data.arrow", arrow_file(MANY)[:-20], faults="not_arrow"),
    bad_file("cut arrow stream", "data.arrow", arrow_stream(MANY)[: len(arrow_stream(MANY)) // 2], faults="not_arrow"),
    bad_file("parquet without rows", "data.parquet", parquet_table(PAIRS[:0]), faults="empty_file"),
    bad_file("parquet under the name jsonl", "data.jsonl", parquet_table(PAIRS), faults="unsupported_file"),
    bad_file("arrow under the name csv", "data.csv", arrow_file(PAIRS), faults="unsupported_file"),
    bad_file(
        "text in parquet is not UTF-8", "data.parquet", _text_that_is_not_utf8(), faults="not_utf8", data_format="text"
    ),
    bad_file("column twice in arrow", "data.arrow", _column_twice(), faults="duplicate_column", data_format="text"),
]
CSV = [
    bad_file(
        "csv with an open quote", "data.csv", b'text\nfine\n"open\nmore\n', faults="broken_csv", data_format="text"
    ),
    bad_file(
        "csv with text after a quote", "data.csv", b'text\nfine\n"a" b\n', faults="broken_csv", data_format="text"
    ),
    bad_file("csv with a cell too few", "data.csv", b"prompt,completion\na,b\nc\nd,e\n", faults="ragged_row"),
    bad_file("csv with a cell too many", "data.csv", b"prompt,completion\na,b\nc, d,e\n", faults="ragged_row"),
    bad_file(
        "csv with a column twice", "data.csv", b"text,text\na,b\nc,d\n", faults="duplicate_column", data_format="text"
    ),
    bad_file("csv with a header alone", "data.csv", b"prompt,completion\n", faults="empty_file"),
    bad_file("csv of semicolons", "data.csv", b"prompt;completion\na;b\nc;d\n", faults="missing_column"),
    bad_file("csv with an empty cell", "data.csv", b"prompt,completion\na,b\nc,\n", faults="empty_text"),
    bad_file("csv that is not UTF-8", "data.csv", b"text\nfine\ncaf\xe9\n", faults="not_utf8", data_format="text"),
    bad_file(
        "turns in csv that are not json",
        "data.csv",
        b"messages\n[{'role': 'user'}]\nhi\n",
        faults="wrong_type",
        data_format="messages",
    ),
]
JSON = [
    bad_file("nothing", "data.jsonl", b"", faults="empty_file"),
    bad_file("nothing in gzip", "data.jsonl.gz", gzipped(b""), faults="empty_file"),
    bad_file("empty lines alone", "data.jsonl", b"\n \n\n", faults="empty_file"),
    bad_file("empty array", "data.json", b"[]", faults="empty_file"),
    bad_file("array under the name jsonl", "data.jsonl", json_array(PAIRS), faults="json_array"),
    bad_file("cut array", "data.json", json_array(PAIRS)[:-30], faults="broken_array"),
    bad_file("array without its end", "data.json", json_array(PAIRS).rstrip()[:-1], faults="broken_array"),
    bad_file("array without a comma", "data.json", json_array(PAIRS).replace(b"},", b"}"), faults="broken_array"),
    bad_file("text after the array", "data.json", json_array(PAIRS) + b"[]", faults="broken_array"),
    bad_file("array of texts", "data.json", b'["a", "b"]', faults="not_an_object"),
    bad_file(
        "one object over several lines",
        "data.json",
        json.dumps({"data": PAIRS}, indent=1).encode(),
        faults="single_object",
    ),
    bad_file("cut line", "data.jsonl", LINES[:-20], faults="invalid_json"),
    bad_file(
        "python instead of json", "data.jsonl", LINES + b"{'prompt': 'a', 'completion': 'b'}\n", faults="invalid_json"
    ),
    bad_file(
        "key twice",
        "data.jsonl",
        LINES + b'{"prompt": "a", "prompt": "b", "completion": "c"}\n',
        faults="duplicate_key",
    ),
    bad_file("NaN", "data.jsonl", LINES + b'{"prompt": "a", "completion": "c", "score": NaN}\n', faults="not_a_number"),
    bad_file("Latin-1", "data.jsonl", LINES + b'{"prompt": "caf\xe9", "completion": "c"}\n', faults="not_utf8"),
    bad_file(
        "Latin-1 in an array",
        "data.json",
        b'[{"prompt": "caf\xe9", "completion": "c"}, {"prompt": "a", "completion": "b"}]',
        faults="not_utf8",
    ),
    bad_file("UTF-16", "data.jsonl", LINES.decode().encode("utf-16"), faults="not_utf8_file"),
    bad_file("byte order mark in the middle", "data.jsonl", LINES + BOM + LINES, faults="invalid_json"),
    bad_file("line of a strange space", "data.jsonl", LINES + "\u2028\n".encode(), faults="invalid_json"),
    bad_file("brackets without end", "data.jsonl", LINES + b"[" * 100_000 + b"\n", faults="invalid_json"),
    bad_file(
        "half a character",
        "data.jsonl",
        LINES + b'{"prompt": "\\ud800", "completion": "c"}\n',
        faults="broken_character",
    ),
]
FOREIGN = [
    bad_file("plain text", "data.txt", b"once\nupon\na time\n", faults="unsupported_file", data_format="text"),
    bad_file("excel", "data.jsonl", b"PK\x03\x04" + bytes(60), faults="unsupported_file"),
    bad_file("bzip2", "data.jsonl.bz2", b"BZh9" + bytes(60), faults="unsupported_file"),
]
LIMITS = [
    replace(
        bad_file("line above the limit", "data.jsonl", LINES, faults="line_too_long"),
        limits=CheckLimits(line_bytes=20),
    ),
    replace(
        bad_file("archive above the limit", "data.jsonl.gz", gzipped(LINES), faults="unpacked_too_large"),
        limits=CheckLimits(unpacked_bytes=20),
    ),
]
BAD_FILES: list[Case] = [*PACKED, *TABLES, *CSV, *JSON, *FOREIGN, *LIMITS]

"""No bytes break the check, in any kind of file; how they are cut into blocks changes nothing."""

import gzip
import io
import json
import re
from typing import Any

import pyarrow as pa
import pytest
from backports import zstd
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import csv, parquet

from stoker_dataset_gateway.checking import CheckLimits, CheckResult, check_file, fast_rows
from stoker_dataset_gateway.checking.formats import layout_of
from stoker_dataset_gateway.checking.row_check import RowCheck

NAMES = ["a.jsonl", "a.json", "a.csv", "a.parquet", "a.arrow"]
_WORDS = (
    "text messages prompt completion chosen rejected label role content from value conversations instruction input "
    "output user assistant system tool human gpt"
)
WORDS = st.sampled_from(sorted(set(re.findall(r"\w+", _WORDS))))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | WORDS | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=4),
    max_leaves=10,
)
TURNS = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["user", "assistant", "system", "tool", "bot"]), "content": st.text(max_size=8)},
        optional={"name": st.text(max_size=3) | st.none(), "tool_calls": st.none() | st.just([{}])},
    ),
    max_size=4,
)
ROWS = st.one_of(
    VALUES,
    st.fixed_dictionaries({"messages": TURNS}, optional={"id": st.integers() | st.floats(), "x": VALUES}),
    st.fixed_dictionaries(
        {"prompt": st.text(max_size=6), "completion": st.text(max_size=6)}, optional={"label": VALUES}
    ),
    st.fixed_dictionaries({"chosen": TURNS | WORDS, "rejected": TURNS | WORDS}, optional={"prompt": TURNS | WORDS}),
)


def blocks(content: bytes, step: int) -> list[bytes]:
    return [content[start : start + step] for start in range(0, len(content), step)]


def written(rows: list[Any], name: str, *, ensure_ascii: bool) -> bytes:
    if name == "a.json":
        return json.dumps(rows, ensure_ascii=ensure_ascii, indent=1).encode("utf-8", "surrogatepass")
    return "\n".join(json.dumps(row, ensure_ascii=ensure_ascii) for row in rows).encode("utf-8", "surrogatepass")


@given(st.lists(ROWS, max_size=8), st.sampled_from(["a.jsonl", "a.json"]), st.integers(1, 60), st.booleans())
@settings(max_examples=150, deadline=None)
def test_the_blocks_do_not_matter_and_an_array_reads_as_its_lines(
    rows: list[Any],
    name: str,
    step: int,
    ensure_ascii: bool,  # noqa: FBT001 - hypothesis gives them by place
) -> None:
    content = written(rows, name, ensure_ascii=ensure_ascii)
    whole = check_file([content], name)
    assert check_file(blocks(content, step), name) == whole
    packed = (
        gzip.compress(content),
        zstd.compress(content[: len(content) // 2]) + zstd.compress(content[len(content) // 2 :]),
    )
    assert check_file(blocks(packed[0], step), f"{name}.gz") == whole
    assert check_file(blocks(packed[1], step), f"{name}.zst") == whole
    if rows and isinstance(rows[0], dict):
        as_lines = check_file([written(rows, "a.jsonl", ensure_ascii=ensure_ascii)], "a.jsonl")
        as_array = check_file([json.dumps(rows, ensure_ascii=ensure_ascii).encode("utf-8", "surrogatepass")], "a.json")
        assert (as_array.fault_counts, as_array.warning_counts) == (as_lines.fault_counts, as_lines.warning_counts)
        assert as_array.statistics == as_lines.statistics


# What stands between quotes may look like the quote's end, and a key that stands twice must be seen all the same.
_TRICKY = st.lists(st.sampled_from(['"', "\\", "a", " ", "\n", '\\"', "\x1f"]), max_size=6).map("".join)
QUOTED = st.one_of(
    st.fixed_dictionaries({"text": _TRICKY}, optional={"x": _TRICKY | st.lists(_TRICKY, max_size=2)}).map(json.dumps),
    st.builds(lambda one, two: f'{{"text": {json.dumps(one)}, "text": {json.dumps(two)}}}', _TRICKY, _TRICKY),
)
LINES = st.lists(
    ROWS.map(json.dumps)
    | st.sampled_from(
        [
            '{"text": "a", "text": "b"}',
            '{"text": "a", "t\\u0065xt": "b"}',
            '{"text": "say \\u0022\\u0022", "text": ""}',
            '{"prompt": "p", "completion": "c", "x": NaN}',
            '{"prompt": "p", "completion": "c", "x": ' + "9" * 4400 + "}",
            '{"prompt": "p", "completion": "c", "x": 1e999}',
            '{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "content": "c"}]}',
            '{"messages": [{"role": "user", "content": "\\udc00"}, {"role": "assistant", "content": "b"}]}',
            '{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]} x',
            '\u00a0{"text": "a"}\u00a0',
        ]
    )
    | QUOTED,
    max_size=12,
)


@given(LINES)
@settings(max_examples=200, deadline=None)
def test_the_short_way_says_what_the_long_way_says(lines: list[str]) -> None:
    content = "\n".join([*lines, *lines]).encode("utf-8", "surrogatepass")
    assert check_file([content], "a.jsonl") == long_way(content)


@given(st.lists(_TRICKY.filter(str.strip), min_size=1, max_size=4), st.sampled_from([1, 2, 7, 2**17]))
@settings(max_examples=200, deadline=None)
def test_quotes_in_texts_do_not_send_a_row_the_long_way(texts: list[str], piece_bytes: int) -> None:
    rows = [json.dumps({"text": text}).encode() for text in texts]
    layout = layout_of({"text": texts[0]})
    assert layout is not None
    signature = fast_rows.signature_of({"text": texts[0]}, layout)
    assert signature is not None
    measure = fast_rows.measure_for(signature)
    assert measure is not None
    measured = [measure(row) for row in rows]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fast_rows, "_PIECE_BYTES", piece_bytes)
        assert None not in fast_rows.without_twice(rows, measured)


def long_way(content: bytes) -> CheckResult:
    """The check without its short way."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RowCheck, "_learn", lambda *_: None)
        return check_file([content], "a.jsonl")


def arrow(rows: list[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(rows)


def parquet_bytes(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    parquet.write_table(table, sink)
    return sink.getvalue()


def arrow_bytes(table: pa.Table, *, is_file: bool) -> bytes:
    sink = io.BytesIO()
    writer = pa.ipc.new_file(sink, table.schema) if is_file else pa.ipc.new_stream(sink, table.schema)
    with writer:
        writer.write_table(table)
    return sink.getvalue()


GOOD_ROWS = [
    {"messages": [{"role": "user", "content": f"q {n}"}, {"role": "assistant", "content": f"a {n}"}]}
    for n in range(700)
]
TABLE = arrow(GOOD_ROWS)
SEEDS = [
    ("a.parquet", parquet_bytes(TABLE.slice(0, 5))),
    ("a.arrow", arrow_bytes(TABLE.slice(0, 5), is_file=True)),
    ("a.arrow", arrow_bytes(TABLE.slice(0, 5), is_file=False)),
    ("a.jsonl.gz", gzip.compress(written(GOOD_ROWS[:5], "a.jsonl", ensure_ascii=True))),
    ("a.json.zst", zstd.compress(written(GOOD_ROWS[:5], "a.json", ensure_ascii=True))),
    ("a.csv", b'prompt,completion\n"p, ""q""\nr",c\nx,y\n'),
    ("a.json", written(GOOD_ROWS[:3], "a.json", ensure_ascii=True)),
]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.parquet", parquet_bytes(TABLE)),
        ("a.arrow", arrow_bytes(TABLE, is_file=True)),
        ("a.feather", arrow_bytes(TABLE, is_file=False)),
        ("a.json", written(GOOD_ROWS, "a.json", ensure_ascii=True)),
        ("a.jsonl", written(GOOD_ROWS, "a.jsonl", ensure_ascii=False)),
    ],
)
@pytest.mark.parametrize("packing", ["", ".gz", ".zst"])
def test_every_kind_of_file_is_read_plain_and_packed(name: str, content: bytes, packing: str) -> None:
    pack = {"": bytes, ".gz": gzip.compress, ".zst": zstd.compress}[packing]
    result = check_file(blocks(pack(content), 1000), name + packing)
    assert result.faults == []
    assert (result.statistics.rows, result.statistics.duplicate_rows, result.fits_methods) == (700, 0, ["sft"])


def test_csv_reads_texts_turns_and_labels() -> None:
    pairs = b'prompt,completion,label\r\n"a ""quoted""\nline",b,true\r\n\r\nc,d,0\r\n'
    result = check_file([pairs], "a.csv")
    assert (result.faults, result.statistics.rows, result.fits_methods) == ([], 2, ["kto"])
    turns = json.dumps(GOOD_ROWS[0]["messages"]).replace('"', '""')
    result = check_file([f'\ufeffmessages\n"{turns}"\n"{turns}"\n'.encode()], "a.csv")
    assert (result.faults, result.fits_methods) == ([], ["sft"])
    bad = check_file([b"text,id\na,1\nb\n\xff,3\n,4\nc,5\n"], "a.csv")
    assert [(fault.line, fault.row, fault.code) for fault in bad.faults] == [
        (3, 2, "ragged_row"),
        (4, 3, "not_utf8"),
        (5, 4, "empty_text"),
    ]
    table = pa.table({"text": ["a", "b, c"], "other": [1, 2]})
    sink = io.BytesIO()
    csv.write_csv(table, sink)
    assert check_file([sink.getvalue()], "a.csv").faults == []


@pytest.mark.parametrize(
    ("name", "content", "code", "line"),
    [
        ("a.json", b'[{"text": "a"}, {"text": "b"}', "broken_array", 1),
        ("a.json", b'[{"text": "a"}\n {"text": "b"}]', "broken_array", 2),
        ("a.json", b'[{"text": "a"},\n{"text": "b"},\n]', "broken_array", 3),
        ("a.json", b'[{"text": "a"},{"text": "b"}]\n x', "broken_array", 2),
        ("a.json", b'{\n "data": [{"text": "a"}]\n}', "single_object", 0),
        ("a.json", b"[]", "empty_file", 0),
        ("a.json", b"  \n ", "empty_file", 0),
        ("a.csv", b"text\n", "empty_file", 0),
        ("a.csv", b'text\na\n"b\n', "broken_csv", 3),
        ("a.csv", b"text,text\na,b\n", "duplicate_column", 1),
        ("a.parquet", parquet_bytes(TABLE)[:-20], "not_parquet", 0),
        ("a.parquet", b"[]", "not_parquet", 0),
        ("a.arrow", arrow_bytes(TABLE, is_file=True)[:-30], "not_arrow", 0),
        ("a.arrow", b"nonsense", "not_arrow", 0),
        ("a.arrow", parquet_bytes(TABLE), "unsupported_file", 0),
        ("a.jsonl", json.dumps({"text": "a"}).encode("utf-16"), "not_utf8_file", 0),
        ("a.jsonl.zst", zstd.compress(b"x" * 100)[:-3], "broken_zstd", 0),
        ("a.jsonl.zst", b"plain", "not_zstd", 0),
        ("a.jsonl", zstd.compress(b"x"), "unnamed_zstd", 0),
        ("a.txt", b"text", "unsupported_file", 0),
    ],
)
def test_a_file_that_cannot_be_read_is_one_fault_with_its_line(name: str, content: bytes, code: str, line: int) -> None:
    for step in (1, 5, 10**6):
        result = check_file(blocks(content, step), name)
        assert [(fault.line, fault.code) for fault in result.faults] == [(line, code)], step
        assert not result.fits_methods


def test_the_line_of_an_element_is_where_it_begins() -> None:
    content = b'[\n{"text": "a"},\n\n{"text":\n 1}, {"text": "c"},\n"x"]'
    result = check_file([content], "a.json")
    assert [(fault.line, fault.row, fault.code) for fault in result.faults] == [
        (4, 2, "wrong_type"),
        (6, 4, "not_an_object"),
    ]


def test_a_row_of_a_table_is_named_by_its_number() -> None:
    rows = [*GOOD_ROWS[:300], {"messages": []}, *GOOD_ROWS[:5], {"messages": None}]
    result = check_file([parquet_bytes(arrow(rows))], "a.parquet")
    assert [(fault.line, fault.row, fault.code) for fault in result.faults] == [
        (0, 301, "empty_messages"),
        (0, 307, "wrong_type"),
    ]
    bad_text = pa.array([b"good", b"\xff"]).cast(pa.binary()).view(pa.string())
    not_utf8 = check_file([parquet_bytes(pa.table({"text": bad_text}))], "a.parquet")
    assert [(fault.row, fault.code) for fault in not_utf8.faults] == [(2, "not_utf8")]
    foreign = check_file([parquet_bytes(pa.table({"input_ids": [[1], [2]]}))], "a.parquet")
    assert foreign.fault_counts == {"missing_column": 2}


@given(st.sampled_from(SEEDS), st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=4), st.floats(0, 1))
@settings(max_examples=200, deadline=None)
def test_no_damage_breaks_the_check_and_all_it_tells_can_be_stored(
    seed: tuple[str, bytes], damage: list[tuple[float, int]], end: float
) -> None:
    name, content = seed
    damaged = bytearray(content)
    for place, byte in damage:
        damaged[int(place * (len(damaged) - 1))] = byte
    cut = bytes(damaged[: round(len(damaged) * min(1, end * 1.5))])
    limits = CheckLimits(unpacked_bytes=10**7)
    result = check_file(blocks(cut, 1000), name, limits=limits)
    assert result.faults_total > 0 or result.statistics.rows >= 2
    told = "".join([*(fault.model_dump_json() for fault in (*result.faults, *result.warnings)), result.sample])
    assert "\\u0000" not in told
    assert told.encode().decode() == told


@given(st.binary(max_size=200), st.sampled_from(NAMES), st.sampled_from(["", ".gz", ".zst"]))
@settings(max_examples=200, deadline=None)
def test_no_bytes_break_the_check(content: bytes, name: str, packing: str) -> None:
    result = check_file([content], name + packing)
    assert result.faults_total > 0 or result.statistics.rows >= 2

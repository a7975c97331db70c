"""Reading every kind of file, packed or not: the same rows, the right place in every error, bounded memory."""

import io
import json
import tracemalloc
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from stoker_trainer.errors import DatasetUnreadable
from stoker_trainer.json_rows import read_json_array
from stoker_trainer.rows import read_rows
from tests.support.corpus.writing import KINDS, PACKINGS

ROWS: list[dict[str, Any]] = [
    {"prompt": [{"role": "user", "content": f'Grüße {number}, "quoted"\nand broken'}],
     "completion": [{"role": "assistant", "content": "答え " * number + "."}]}
    for number in range(700)
]  # fmt: skip


def write(folder: Path, name: str, content: bytes) -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("packing", PACKINGS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_file_gives_the_same_rows(tmp_path: Path, kind: str, packing: str) -> None:
    suffix, written = KINDS[kind]
    path = write(tmp_path, f"data{suffix}{packing}", PACKINGS[packing](written(ROWS)))
    found = list(read_rows(path))
    assert [row.values for row in found] == ROWS
    assert found[0].place in {"row 1", "line 1", "line 2"}
    assert list(tmp_path.iterdir()) == [path], "what was unpacked is gone"


@pytest.mark.parametrize("packing", [".gz", ".zst"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_cut_archive_is_refused(tmp_path: Path, kind: str, packing: str) -> None:
    suffix, written = KINDS[kind]
    packed = PACKINGS[packing](written(ROWS))
    with pytest.raises(DatasetUnreadable, match="not a whole"):
        list(read_rows(write(tmp_path, f"data{suffix}{packing}", packed[:-9])))


@pytest.mark.parametrize("kind", ["parquet", "arrow file", "arrow stream"])
@pytest.mark.parametrize("kept", [0, 3, 100, 0.5, 0.9])
def test_a_cut_table_is_refused(tmp_path: Path, kind: str, kept: float) -> None:
    suffix, written = KINDS[kind]
    whole = written(ROWS)
    with pytest.raises(DatasetUnreadable, match="not a whole"):
        list(read_rows(write(tmp_path, f"data{suffix}", whole[: int(kept if kept >= 1 else kept * len(whole))])))


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.json", b'[{"text": "a"}, {"text": "b"', "row 2: not valid JSON"),
        ("a.json", b'[{"text": "a"}, {"text": "b"}', "row 2: .*file ends"),
        ("a.json", b'[{"text": "a"} {"text": "b"}]', "row 1: .*comma"),
        ("a.json", b'[{"text": "a"}, {"text": "b", "text": "c"}]', "row 2: .*twice"),
        ("a.json", b'[{"text": "a"}, 7]', "row 2: expected an object"),
        ("a.json", b'[{"text": "a"}, {"text": NaN}]', "row 2: .*NaN"),
        ("a.json", b'[{"text": "a"}] []', "row 1: something follows"),
        ("a.json", b'[{"text": "caf\xe9"}]', "not UTF-8"),
        ("a.json", b'[{"text": "a"},]', "row 2: not valid JSON"),
        ("a.json", b'[{"text": ' + b"[" * 100_000 + b"]}]", "row 1: JSON nested too deeply"),
        ("a.csv", b"text\nfine\ncaf\xe9\n", "line 3: byte 4 is not UTF-8"),
        ("a.csv", b'text\n"two\nlines"\n"open\n', "line 4: not valid CSV"),
        ("a.csv", b'prompt,completion\n"two\nlines",b\na\n', "line 4: 1 cells, but the header has 2"),
        ("a.csv", b"text,text\na,b\n", "line 1: .*twice"),
        ("a.jsonl.zst", b"hello, not zstd at all", "not a whole zstd"),
        ("a.jsonl.gz", b"hello, not gzip at all", "not a whole gzip"),
        ("a.parquet", b'{"text": "a"}\n', "not a whole Parquet"),
    ],
)
def test_a_fault_is_named_by_its_place(tmp_path: Path, name: str, content: bytes, says: str) -> None:
    with pytest.raises(DatasetUnreadable, match=f"(?s){says}"):
        list(read_rows(write(tmp_path, name, content)))


def test_text_in_a_table_that_is_not_utf8_is_named_by_its_row(tmp_path: Path) -> None:
    texts = pa.array([b"fine"] * 300 + [b"caf\xe9"], pa.binary()).view(pa.string())
    out = io.BytesIO()
    parquet.write_table(pa.table({"text": texts}), out)
    with pytest.raises(DatasetUnreadable, match="row 301, a text: byte 4 is not UTF-8"):
        list(read_rows(write(tmp_path, "a.parquet", out.getvalue())))


def test_a_table_with_a_column_twice_is_refused(tmp_path: Path) -> None:
    table, out = pa.table([["a"], ["b"]], names=["text", "text"]), io.BytesIO()
    with pa.ipc.new_stream(out, table.schema) as writer:
        writer.write_table(table)
    with pytest.raises(DatasetUnreadable, match="'text' twice"):
        list(read_rows(write(tmp_path, "a.arrow", out.getvalue())))


def test_columns_that_nobody_asked_for_are_not_read(tmp_path: Path) -> None:
    broken = pa.array([b"\xff"], pa.binary()).view(pa.string())
    out = io.BytesIO()
    parquet.write_table(pa.table({"text": ["a"], "picture": broken}), out)
    assert [row.values for row in read_rows(write(tmp_path, "a.parquet", out.getvalue()))] == [{"text": "a"}]


def test_a_text_that_only_looks_like_json_stays_text(tmp_path: Path) -> None:
    content = b'prompt,completion\n"[1, 2]","[{""a"": 1}]"\n'
    (row,) = read_rows(write(tmp_path, "a.csv", content))
    assert row.values == {"prompt": "[1, 2]", "completion": '[{"a": 1}]'}


def test_a_cell_may_be_longer_than_the_csv_module_allows(tmp_path: Path) -> None:
    (row,) = read_rows(write(tmp_path, "a.csv", b"text\n" + b"x" * 300_000 + b"\n"))
    assert len(row.values["text"]) == 300_000


class Drip(io.RawIOBase):
    """A file that hands out as little at a time as `sizes` say."""

    def __init__(self, content: bytes, sizes: list[int]) -> None:
        self._content, self._sizes, self._calls = io.BytesIO(content), sizes, 0

    def read(self, size: int = -1, /) -> bytes:
        self._calls += 1
        return self._content.read(self._sizes[self._calls % len(self._sizes)])


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(
    rows=st.lists(st.dictionaries(st.text(), json_values, max_size=4), max_size=6),
    sizes=st.lists(st.integers(1, 40), min_size=1, max_size=4),
    indent=st.sampled_from([None, 0, 2]),
    is_ascii=st.booleans(),
)
def test_an_array_is_read_alike_however_it_is_cut(
    rows: list[Any],
    sizes: list[int],
    indent: int | None,
    is_ascii: bool,  # noqa: FBT001
) -> None:
    rows = json.loads(json.dumps(rows))
    try:
        content = json.dumps(rows, indent=indent, ensure_ascii=is_ascii).encode()
    except UnicodeEncodeError:  # half a character cannot be written
        return
    assert [row.values for row in read_json_array(Drip(content, sizes))] == rows  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kind", "packing"),
    [("json array", ""), ("json lines", ".gz"), ("csv", ".zst"), ("parquet", ""), ("arrow stream", "")],
)
def test_memory_does_not_grow_with_the_file(tmp_path: Path, kind: str, packing: str) -> None:
    suffix, written = KINDS[kind]
    content = written([{"text": f"{number} " + "words " * 200} for number in range(20_000)])  # 24 MB
    path = write(tmp_path, f"data{suffix}{packing}", PACKINGS[packing](content))
    del content
    arrow_before, arrow_most, count = pa.total_allocated_bytes(), 0, 0
    tracemalloc.start()
    for _ in read_rows(path):
        count += 1
        if count % 500 == 0:
            arrow_most = max(arrow_most, pa.total_allocated_bytes() - arrow_before)
    _, python_most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == 20_000
    assert python_most + arrow_most < 12 * 2**20

"""The check before training: every wrong row is named by its line, and nothing wrong is trained on."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker_trainer.config import CONVERSION_FORMATS, ConversionName, DataFormatName, HeldOutConfig
from stoker_trainer.data import check_rows, clean_rows, split_indices
from stoker_trainer.errors import DatasetMethodMismatch, DatasetUnreadable

GOOD = {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]}
PAIR = {"prompt": "a", "completion": "b"}


def turn(role: Any, content: Any) -> dict[str, Any]:
    return {"role": role, "content": content}


def check(folder: Path, rows: list[Any], data_format: DataFormatName = "messages") -> Any:
    path = folder / "data.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return check_rows(path, data_format=data_format)


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"prompt": "a", "chosen": "b", "rejected": "c"}, "preference data"),
        ({"instruction": "a", "output": "b"}, "Alpaca"),
        ({"question": "a", "answer": "b"}, "rename question"),
        ({"conversations": [{"from": "human", "value": "x"}]}, "ShareGPT"),
        (PAIR, "set data.format"),
        ({"messages": None}, "null"),
        ({"messages": []}, "empty list"),
        ({"messages": "hi"}, "list of turns"),
        ({"messages": [turn("user", "hi")]}, "no assistant turn"),
        ({"messages": [turn("human", "hi"), turn("assistant", "x")]}, r"messages\[0\].role"),
        ({"messages": [turn("user", None), turn("assistant", "x")]}, r"messages\[0\].content must be text"),
        ({"messages": [{"role": "user"}, turn("assistant", "x")]}, r"messages\[0\].content"),
        ({"messages": [turn("user", "hi"), turn("assistant", " ")]}, r"messages\[1\].content is empty"),
        ({"messages": [turn("user", [{"type": "text", "text": "x"}]), turn("assistant", "x")]}, "list of parts"),
        ({"messages": [turn(["user"], "hi"), turn("assistant", "x")]}, "role must be one of"),
    ],
)
def test_a_row_that_does_not_fit_is_named_by_line_and_reason(tmp_path: Path, row: dict[str, Any], says: str) -> None:
    with pytest.raises(DatasetMethodMismatch, match=f"(?s)line 2: .*{says}"):
        check(tmp_path, [GOOD, row])


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"prompt": "a"}, "no answers"),
        ({"prompt": "a", "completion": None}, "completion must be text or a list"),
        ({"prompt": "a", "completion": [turn("assistant", "x")]}, "both be text or both be lists"),
        ({"prompt": [turn("user", "a")], "completion": [turn("assistant", "x")]}, "all rows must be alike"),
    ],
)
def test_prompt_and_completion_must_fit_each_other(tmp_path: Path, row: dict[str, Any], says: str) -> None:
    with pytest.raises(DatasetMethodMismatch, match=f"(?s)line 2: .*{says}"):
        check(tmp_path, [PAIR, row], "prompt_completion")


@pytest.mark.parametrize("value", ["", None, 5])
def test_text_must_be_text(tmp_path: Path, value: object) -> None:
    with pytest.raises(DatasetMethodMismatch, match="line 1: text"):
        check(tmp_path, [{"text": value}], "text")


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (b'{"text": "caf\xe9"}', "byte 14 is not UTF-8"),
        (b'{"text": "a"', "not valid JSON"),
        (b'{"text": "a", "text": "b"}', "twice"),
        (b'{"text": NaN}', "NaN"),
        (b'["text"]', "expected an object"),
    ],
)
def test_a_line_that_cannot_be_read_is_named(tmp_path: Path, line: bytes, says: str) -> None:
    path = tmp_path / "data.jsonl"
    path.write_bytes(b'{"text": "fine"}\n\n' + line + b"\n")
    with pytest.raises(DatasetUnreadable, match=f"line 3: .*{says}"):
        check_rows(path, data_format="text")


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetUnreadable, match="no rows"):
        check(tmp_path, [])


def test_a_cut_gzip_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl.gz"
    path.write_bytes(gzip.compress(json.dumps(GOOD).encode() * 50)[:-20])
    with pytest.raises(DatasetUnreadable, match="gzip"):
        check_rows(path, data_format="messages")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.json", json.dumps([PAIR, PAIR]).encode()),
        ("a.csv", b'prompt,completion\na,b\n"a, and\nmore",b\n'),
        ("a.jsonl", "\ufeff".encode() + (json.dumps(PAIR) + "\r\n").encode() * 2),
        ("a.jsonl.gz", gzip.compress((json.dumps(PAIR) + "\n").encode() * 2, mtime=0)),
    ],
)
def test_other_file_forms_are_read(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    assert check_rows(tmp_path / name, data_format="prompt_completion").rows == 2


@pytest.mark.parametrize(
    ("row", "conversion", "becomes"),
    [
        (
            {"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}], "id": 1},
            "sharegpt",
            {"messages": [turn("user", "a"), turn("assistant", "b")]},
        ),
        ({"instruction": "a", "input": "b", "output": "c"}, "alpaca", {"prompt": "a\n\nb", "completion": "c"}),
        ({"instruction": "a", "input": "", "output": "c"}, "alpaca", {"prompt": "a", "completion": "c"}),
        ({"query": "a", "response": "b"}, "text_pairs", {"prompt": "a", "completion": "b"}),
    ],
)
def test_rows_of_other_shapes_are_converted(
    tmp_path: Path, row: dict[str, Any], conversion: ConversionName, becomes: dict[str, Any]
) -> None:
    data_format = CONVERSION_FORMATS[conversion]
    path = tmp_path / "data.jsonl"
    path.write_text(json.dumps(row) + "\n")
    assert check_rows(path, data_format=data_format, conversion=conversion).rows == 1
    assert list(clean_rows(str(path), data_format, conversion, "")) == [becomes]


@pytest.mark.parametrize(
    ("row", "conversion", "says"),
    [
        ({"conversations": [{"from": "bing", "value": "a"}]}, "sharegpt", r"conversations\[0\].from must be one of"),
        ({"instruction": "a", "output": "b", "history": [["c"]]}, "alpaca", "would lose the column history"),
        ({"messages": []}, "sharegpt", "conversations missing"),
        ({"question": ["a"], "answer": "b"}, "text_pairs", "question must be text"),
    ],
)
def test_what_cannot_be_converted_is_named(
    tmp_path: Path, row: dict[str, Any], conversion: ConversionName, says: str
) -> None:
    path = tmp_path / "data.jsonl"
    path.write_text(json.dumps(row) + "\n")
    with pytest.raises(DatasetMethodMismatch, match=f"line 1: .*{says}"):
        check_rows(path, data_format=CONVERSION_FORMATS[conversion], conversion=conversion)


def test_a_last_turn_of_the_user_is_worth_a_note(tmp_path: Path) -> None:
    row = {"messages": [*GOOD["messages"], turn("user", "and?")]}
    assert check(tmp_path, [GOOD, row]).notes == {"the last turn is not the assistant's": 1}


def test_many_faults_are_listed_up_to_twenty(tmp_path: Path) -> None:
    with pytest.raises(DatasetMethodMismatch) as caught:
        check(tmp_path, [{"text": ""}] * 100, "text")
    assert str(caught.value).count("line ") == 20


@given(
    rows=st.integers(1, 500),
    fraction=st.floats(0, 0.99),
    max_rows=st.integers(1, 100),
    seed=st.integers(0, 1000),
)
def test_split_is_a_partition_that_depends_on_the_seed_alone(
    rows: int, fraction: float, max_rows: int, seed: int
) -> None:
    held_out = HeldOutConfig(fraction=fraction, max_rows=max_rows, seed=seed)
    train, kept = split_indices(rows, held_out=held_out)
    assert sorted(train + kept) == list(range(rows))
    assert train
    assert len(kept) <= max_rows
    assert bool(kept) == (fraction > 0 and rows > 1)
    assert (train, kept) == split_indices(rows, held_out=held_out)

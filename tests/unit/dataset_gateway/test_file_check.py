"""The data check: a corpus of good and bad rows, and that no bytes whatever can break it."""

import gzip
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stoker_dataset_gateway.checking import CheckLimits, CheckResult, FileCheck
from stoker_shared.recipe import DataFormat

GOOD = {"text": "good"}
TURNS = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "hi"}]


def check(
    content: bytes, *, filename: str = "a.jsonl", limits: CheckLimits | None = None, step: int = 0
) -> CheckResult:
    """Check a file in one block, or in blocks of `step` bytes."""
    file_check = FileCheck(filename, limits=limits)
    for start in range(0, len(content), step or max(len(content), 1)):
        file_check.feed(content[start : start + (step or len(content))])
    return file_check.finish()


def rows(*values: Any) -> bytes:
    """Rows as a file; a str is a line as it stands."""
    return "\n".join(value if isinstance(value, str) else json.dumps(value) for value in values).encode()


@pytest.mark.parametrize(
    ("values", "data_format"),
    [
        ([{"messages": TURNS}, {"messages": [{"role": "system", "content": "s"}, *TURNS]}], DataFormat.MESSAGES),
        ([{"messages": TURNS, "tools": [], "id": 7}] * 2, DataFormat.MESSAGES),
        ([{"messages": [*TURNS, {"role": "tool", "content": "t"}]}] * 2, DataFormat.MESSAGES),
        ([{"prompt": "p", "completion": "c"}] * 2, DataFormat.PROMPT_COMPLETION),
        ([{"prompt": TURNS[:1], "completion": TURNS[1:]}] * 2, DataFormat.PROMPT_COMPLETION),
        ([{"text": "ünï \U0001f600"}, {"text": "b", "source": None}], DataFormat.TEXT),
        ([GOOD, "", "   ", GOOD, ""], DataFormat.TEXT),
        (['{"text": "whole pair \\ud83d\\ude00"}', GOOD], DataFormat.TEXT),
    ],
)
def test_good_rows_have_no_fault(values: list[Any], data_format: DataFormat) -> None:
    result = check(rows(*values))
    assert result.faults == []
    assert result.data_format is data_format
    assert result.fits_methods == ["sft"]


BAD_ROWS: list[tuple[Any, str, str]] = [
    ("{broken", "invalid_json", ""),
    ('{"text": "a"} {"text": "b"}', "invalid_json", ""),
    ('{"text": ' + "[" * 100_000, "invalid_json", ""),
    ('{"text": "a", "n": ' + "9" * 5000 + "}", "invalid_json", ""),
    ('"text"', "not_an_object", ""),
    ("[1, 2]", "not_an_object", ""),
    ('{"text": "a", "text": "b"}', "duplicate_key", ""),
    ('{"text": "a", "x": {"k": 1, "k": 2}}', "duplicate_key", ""),
    ('{"text": "a", "score": NaN}', "not_a_number", ""),
    ('{"text": "a", "score": -Infinity}', "not_a_number", ""),
    ('{"text": "half \\ud800"}', "broken_character", ""),
    ({}, "missing_column", ""),
    ({"prompt": "p"}, "mixed_formats", ""),
    ({"prompt": "p", "chosen": "c"}, "missing_column", "rejected"),
    ({"completion": "c"}, "missing_column", "prompt"),
    ({"instruction": "i", "output": "o"}, "mixed_formats", ""),
    ({"input_ids": [1]}, "missing_column", ""),
    ({"text": ""}, "empty_text", "text"),
    ({"text": " \n "}, "empty_text", "text"),
    ({"text": 7}, "wrong_type", "text"),
    ({"text": None}, "wrong_type", "text"),
]
BAD_TURNS: list[tuple[Any, str, str]] = [
    ([], "empty_messages", "messages"),
    (None, "wrong_type", "messages"),
    ("hello", "wrong_type", "messages"),
    ([1, *TURNS], "wrong_type", "messages[0]"),
    ([TURNS[0]], "no_assistant_turn", "messages"),
    ([{"role": "bot", "content": "x"}, TURNS[1]], "unknown_role", "messages[0].role"),
    ([{"content": "x"}, TURNS[1]], "unknown_role", "messages[0].role"),
    ([{"role": ["user"], "content": "x"}, TURNS[1]], "unknown_role", "messages[0].role"),
    ([TURNS[0], {"role": "assistant", "content": None}], "null_content", "messages[1].content"),
    ([TURNS[0], {"role": "assistant"}], "null_content", "messages[1].content"),
    ([TURNS[0], {"role": "assistant", "content": [{"text": "a"}]}], "content_not_text", "messages[1].content"),
    ([TURNS[0], {"role": "assistant", "content": " "}], "empty_text", "messages[1].content"),
    ([TURNS[0], {"role": "assistant", "tool_calls": [{}]}], "tool_calls", "messages[1].tool_calls"),
]


@pytest.mark.parametrize(("row", "code", "column"), BAD_ROWS)
def test_a_bad_row_is_named_by_line_column_and_code(row: Any, code: str, column: str) -> None:
    result = check(rows(GOOD, "", row, GOOD))
    assert [(fault.line, fault.code, fault.column) for fault in result.faults] == [(3, code, column)]
    assert result.fault_counts == {code: 1}
    assert result.faults[0].message.endswith(".")
    assert result.fits_methods == []


@pytest.mark.parametrize(("turns", "code", "column"), BAD_TURNS)
def test_a_bad_conversation_is_named_by_its_turn(turns: Any, code: str, column: str) -> None:
    result = check(rows({"messages": TURNS}, {"messages": turns}))
    assert [(fault.line, fault.code, fault.column) for fault in result.faults] == [(2, code, column)]


@pytest.mark.parametrize(
    ("row", "column", "code"),
    [
        ({"prompt": "p", "completion": ""}, "completion", "empty_text"),
        ({"prompt": "", "completion": "c"}, "prompt", "empty_text"),
        ({"prompt": "p", "completion": None}, "completion", "wrong_type"),
        ({"prompt": "p", "completion": TURNS}, "completion", "wrong_type"),
    ],
)
def test_a_bad_pair_is_named_by_its_column(row: Any, column: str, code: str) -> None:
    result = check(rows({"prompt": "p", "completion": "c"}, row))
    assert [(fault.line, fault.column, fault.code) for fault in result.faults] == [(2, column, code)]


def test_every_fault_of_a_row_is_told() -> None:
    turns = [{"role": "bot", "content": None}, {"role": "assistant", "content": ""}]
    result = check(rows({"messages": TURNS}, {"messages": turns}))
    assert [fault.code for fault in result.faults] == ["unknown_role", "null_content", "empty_text"]


def test_rows_of_another_format_or_type_than_the_first_are_faults() -> None:
    mixed = check(rows({"text": "a"}, {"prompt": "p", "completion": "c"}))
    assert [(fault.line, fault.code) for fault in mixed.faults] == [(2, "mixed_formats")]
    assert "line 1 is text" in mixed.faults[0].message
    shapes = check(rows({"prompt": "p", "completion": "c"}, {"prompt": TURNS[:1], "completion": TURNS[1:]}))
    assert [(fault.line, fault.code) for fault in shapes.faults] == [(2, "mixed_types")]


@pytest.mark.parametrize(
    ("content", "filename", "code"),
    [
        (b"", "a.jsonl", "empty_file"),
        (b"\n \n", "a.jsonl", "empty_file"),
        (b"", "a.jsonl.gz", "empty_file"),
        (gzip.compress(b"", mtime=0), "a.jsonl.gz", "empty_file"),
        (rows(GOOD), "a.jsonl", "too_few_rows"),
        (b"PAR1" + b"\0" * 50, "a.jsonl", "unsupported_file"),
        (b"PK\x03\x04" + b"\0" * 50, "a.jsonl", "unsupported_file"),
        (gzip.compress(rows(GOOD, GOOD), mtime=0), "a.jsonl", "unnamed_gzip"),
        (rows(GOOD, GOOD), "a.jsonl.gz", "not_gzip"),
        (gzip.compress(rows(GOOD, GOOD), mtime=0)[:-9], "a.jsonl.gz", "broken_gzip"),
        (gzip.compress(rows(GOOD, GOOD), mtime=0) + b"rest", "a.jsonl.gz", "broken_gzip"),
        (b'[\n{"text": "a"},\n{"text": "b"}\n]', "a.jsonl", "json_array"),
        (b'[{"text": "a"}, {"text": "b"}]', "a.jsonl", "json_array"),
    ],
)
def test_a_bad_file_is_one_fault_of_the_whole_file(content: bytes, filename: str, code: str) -> None:
    for step in (0, 1, 7):
        result = check(content, filename=filename, step=step)
        assert [(fault.line, fault.code) for fault in result.faults] == [(0, code)]


def test_lines_that_are_not_utf8_are_named_with_the_byte() -> None:
    result = check(rows(GOOD) + b'\n{"text": "caf\xe9"}\n' + rows(GOOD))
    assert [(fault.line, fault.code) for fault in result.faults] == [(2, "not_utf8")]
    assert "Byte 14" in result.faults[0].message
    assert "0xe9" in result.faults[0].message


def test_a_byte_order_mark_at_the_start_is_no_fault_and_elsewhere_it_is() -> None:
    assert check(b"\xef\xbb\xbf" + rows(GOOD, GOOD)).faults == []
    later = check(rows(GOOD) + b"\n\xef\xbb\xbf" + rows(GOOD))
    assert [(fault.line, fault.code) for fault in later.faults] == [(2, "invalid_json")]


def test_invalid_json_names_the_column() -> None:
    result = check(rows(GOOD, '{"text": "a" "b"}'))
    assert "column 14" in result.faults[0].message


def test_windows_line_ends_are_fine() -> None:
    assert check(b'{"text": "a"}\r\n{"text": "b"}\r\n').faults == []


def test_a_line_beyond_the_limit_is_a_fault_and_the_next_lines_are_checked() -> None:
    limits = CheckLimits(line_bytes=100)
    content = rows(GOOD, {"text": "x" * 100}, GOOD, {"text": 1})
    for step in (0, 3):
        result = check(content, limits=limits, step=step)
        assert [(fault.line, fault.code) for fault in result.faults] == [(2, "line_too_long"), (4, "wrong_type")]


def test_a_bomb_is_stopped_at_the_limit() -> None:
    bomb = gzip.compress(rows(GOOD) + b"\n" + b" " * 50_000_000, mtime=0)
    result = check(bomb, filename="a.jsonl.gz", limits=CheckLimits(unpacked_bytes=1_000_000))
    assert result.fault_counts == {"unpacked_too_large": 1}


def test_gzip_of_several_members_with_padding_is_read_to_its_end() -> None:
    content = gzip.compress(rows(GOOD) + b"\n", mtime=0) + gzip.compress(rows(GOOD), mtime=0) + b"\0" * 20
    assert check(content, filename="a.jsonl.gz", step=5).statistics.rows == 2


def test_the_list_of_faults_is_capped_and_the_counts_are_exact() -> None:
    result = check(rows(*([GOOD] + [{"text": ""}, "{"] * 300)), limits=CheckLimits(listed_faults=100))
    assert len(result.faults) == 100
    assert result.fault_counts == {"empty_text": 300, "invalid_json": 300}
    assert result.faults_total == 600


def test_statistics_are_exact() -> None:
    values = [{"text": "x" * length} for length in range(1, 101)]
    statistics = check(rows(*values, values[0], values[0])).statistics
    assert statistics.rows == 102
    assert (statistics.characters_p50, statistics.characters_p95, statistics.characters_max) == (49, 95, 100)
    assert statistics.characters_total == 5052
    assert statistics.duplicate_rows == 2
    empty = check(rows({"messages": [{"role": "user", "content": ""}, TURNS[1]]}, {"messages": TURNS}))
    assert empty.statistics.empty_turns == 1


def test_duplicates_are_counted_beyond_the_first_table() -> None:
    lines = [f'{{"text": "{number}"}}' for number in range(20_000)]
    assert check("\n".join(lines * 2).encode()).statistics.duplicate_rows == 20_000


def test_the_sample_is_the_first_good_row_cut_to_size() -> None:
    long = {"messages": [{"role": "user", "content": "x" * 5000}, *([TURNS[1]] * 40)]}
    sample = check(rows({"messages": []}, long)).sample
    assert sample.startswith("user: xxx")
    assert sample.endswith("29 more turns")
    assert len(sample) < 2000


def test_advice_names_what_foreign_data_should_become() -> None:
    for row, words in (
        ({"input_ids": [1]}, "upload the text"),
        ({"prompt": "p", "chosen": "c"}, "add a column rejected"),
        ({"completion": "c"}, "add a column prompt"),
    ):
        assert words in check(rows(row, row)).faults[0].message


LINES = st.lists(
    st.one_of(
        st.binary(max_size=40).map(lambda line: line.replace(b"\n", b"")),
        st.sampled_from([b'{"text": "a"}', b"{}", b"", b"[]", b'{"messages": [{}]}', b'{"text": "\\ud800"}']),
        st.recursive(
            st.none() | st.booleans() | st.floats() | st.text(max_size=5),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from(["text", "messages", "prompt", "completion", "role"]), inner, max_size=3
                )
            ),
            max_leaves=8,
        ).map(lambda value: json.dumps(value).encode()),
    ),
    max_size=20,
)


@given(LINES, st.integers(1, 50))
@settings(max_examples=150, deadline=None)
def test_whatever_the_lines_are_each_fault_has_the_line_where_it_is(lines: list[bytes], step: int) -> None:
    content = b"\n".join([b'{"text": "first"}', b'{"text": "second"}', *lines])
    whole = check(content)
    assert check(content, step=step) == whole
    for fault in whole.faults:
        # Alone between good rows, the line must be the one that is at fault.
        alone = check(b'{"text": "first"}\n' + content.split(b"\n")[fault.line - 1] + b'\n{"text": "last"}')
        assert fault.code in alone.fault_counts
        assert {other.line for other in alone.faults} == {2}


BYTES = st.binary(max_size=300)
FILES = BYTES | BYTES.map(gzip.compress) | BYTES.map(lambda content: gzip.compress(content, mtime=0)[:-5])


@given(FILES, st.sampled_from(["a.jsonl", "a.jsonl.gz"]), st.integers(1, 64))
@settings(max_examples=200, deadline=None)
def test_no_bytes_break_the_check_and_all_it_tells_can_be_stored(content: bytes, filename: str, step: int) -> None:
    result = check(content, filename=filename, step=step)
    assert result.faults_total > 0 or result.statistics.rows >= 2
    told = [*(fault.model_dump_json() for fault in result.faults), result.sample]
    told_text = "".join(told)
    assert "\\u0000" not in told_text
    assert "\0" not in told_text
    assert told_text.encode().decode() == told_text

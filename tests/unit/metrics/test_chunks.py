"""Chunks: whatever the lines are, they come out as they went in, and no chunk hides a hole."""

from datetime import UTC, datetime, timedelta

import pytest
from backports import zstd
from hypothesis import given
from hypothesis import strategies as st

from stoker_metrics.errors import PatternRefused
from stoker_metrics.lines.searching import matches_in, pattern_of
from stoker_metrics.packing.chunk import MOST_BYTES, MOST_LINES, next_run, pack, unpack
from stoker_shared.rpc.log_search import LogSearchQuery
from stoker_shared.rpc.metrics import Line

AT = datetime(2026, 11, 22, tzinfo=UTC)
TEXTS = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\x00"), max_size=200)


def line(sequence: int, text: str = "x") -> Line:
    return Line(sequence=sequence, at=AT + timedelta(seconds=sequence), stream="stdout", text=text)


@given(st.lists(TEXTS, min_size=1, max_size=30), st.integers(1, 2**40))
def test_lines_come_out_of_a_chunk_as_they_went_in(texts: list[str], first: int) -> None:
    lines = [line(1, text).model_copy(update={"sequence": first + n}) for n, text in enumerate(texts)]
    packed = pack(lines)
    assert unpack(packed.content) == lines
    assert (packed.first_sequence, packed.last_sequence) == (first, first + len(lines) - 1)


@given(st.sets(st.integers(1, 60), max_size=60))
def test_runs_have_every_line_once_and_no_hole(sequences: set[int]) -> None:
    lines = [line(number) for number in sorted(sequences)]
    left, packed = lines, []
    while run := next_run(left):
        numbers = [found.sequence for found in run]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
        packed += run
        left = left[len(run) :]
    assert packed == lines


def test_a_chunk_is_bounded_in_lines_and_bytes() -> None:
    assert len(next_run([line(n) for n in range(1, MOST_LINES + 100)])) == MOST_LINES
    long = [line(n, "é" * 4_000) for n in range(1, 2_000)]
    assert sum(len(found.text.encode()) for found in next_run(long)) <= MOST_BYTES


def test_a_damaged_chunk_is_noticed() -> None:
    content = bytearray(pack([line(n, f"loss {n}") for n in range(1, 500)]).content)
    content[len(content) // 2] ^= 0xFF
    with pytest.raises(zstd.ZstdError):
        unpack(bytes(content))


def query(pattern: str, **more: object) -> LogSearchQuery:
    return LogSearchQuery(owner="user-0000000000000001", job_id="job-00000000000000aa", pattern=pattern, **more)


def test_text_is_found_literally_and_expressions_as_such() -> None:
    lines = [line(1, "loss: 0.5 LOSS: 0.4"), line(2, "a.b"), line(3, "axb")]

    def found(**wanted: object) -> list[tuple[int, list[tuple[int, int]]]]:
        pattern = pattern_of(query(**wanted))  # type: ignore[arg-type]
        matches, _ = matches_in(lines, pattern, limit=10, is_over=lambda: False)
        return [(match.line.sequence, match.spans) for match in matches]

    assert found(pattern="loss") == [(1, [(0, 4), (10, 14)])]
    assert found(pattern="loss", ignores_case=False) == [(1, [(0, 4)])]
    assert found(pattern="a.b") == [(2, [(0, 3)])]
    assert found(pattern="a.b", is_expression=True) == [(2, [(0, 3)]), (3, [(0, 3)])]


def test_an_expression_that_is_wrong_or_never_ends_is_refused() -> None:
    with pytest.raises(PatternRefused):
        pattern_of(query("(", is_expression=True))
    endless = pattern_of(query(r"(?:a+)+b", is_expression=True))
    with pytest.raises(PatternRefused, match="takes longer"):
        matches_in([line(1, "b" + "a" * 7_000)], endless, limit=1, is_over=lambda: False)


def test_a_search_whose_time_is_over_says_how_far_it_came() -> None:
    lines = [line(n) for n in range(5, 50)]
    matches, searched_to = matches_in(lines, pattern_of(query("nothing")), limit=10, is_over=lambda: True)
    assert (matches, searched_to) == ([], 5)

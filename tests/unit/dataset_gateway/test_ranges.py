"""The Range header."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker_dataset_gateway.downloads.ranges import MOST_RANGES, wanted_ranges
from stoker_dataset_gateway.errors import RangeUnsatisfiable


def wanted(header: str | None, *, size: int = 1000) -> list[tuple[int, int]] | None:
    """What is served of a file, as start and length."""
    found = wanted_ranges(header, size_bytes=size)
    return None if found is None else [(part.start, part.length) for part in found]


@pytest.mark.parametrize(
    ("header", "parts"),
    [
        ("bytes=0-0", [(0, 1)]),
        ("bytes=0-499", [(0, 500)]),
        ("bytes=500-", [(500, 500)]),
        ("bytes=999-", [(999, 1)]),
        ("bytes=-1", [(999, 1)]),
        ("bytes=-5000", [(0, 1000)]),
        ("bytes=990-5000", [(990, 10)]),
        ("Bytes = 1 - 2 ", [(1, 2)]),
        ("bytes=0-1,5-6", [(0, 2), (5, 2)]),
        ("bytes=500-501, 0-1, -1", [(500, 2), (0, 2), (999, 1)]),
        ("bytes=0-9,5-19", [(0, 20)]),
        ("bytes=0-9,10-19", [(0, 20)]),
        ("bytes=0-9,20-29,5-25", [(0, 30)]),
        ("bytes=,0-1,", [(0, 2)]),
        ("bytes=0-1,5000-6000", [(0, 2)]),
    ],
)
def test_ranges_inside_the_file_are_served_in_the_order_asked_for(header: str, parts: list[tuple[int, int]]) -> None:
    assert wanted(header) == parts


@pytest.mark.parametrize(
    "header",
    ["bytes=1000-", "bytes=5-4", "bytes=-0", "bytes=-", "bytes=a-b", "bytes", "", "x", "bytes=0-1,x", "bytes=2000-,-0"],
)
def test_a_range_outside_the_file_or_no_range_is_refused(header: str) -> None:
    with pytest.raises(RangeUnsatisfiable) as refused:
        wanted(header)
    assert refused.value.size_bytes == 1000


@pytest.mark.parametrize("header", [None, "items=0-1", "bytes=" + ",".join(["0-0"] * (MOST_RANGES + 1))])
def test_no_range_another_unit_and_too_many_ranges_mean_the_whole_file(header: str | None) -> None:
    assert wanted(header) is None


@pytest.mark.parametrize("header", ["bytes=0-", "bytes=-1", "bytes=0-0"])
def test_an_empty_file_has_no_range(header: str) -> None:
    with pytest.raises(RangeUnsatisfiable):
        wanted(header, size=0)


SPEC = st.from_regex(r"[0-9]{0,25}-[0-9]{0,25}", fullmatch=True)
SMALL = st.from_regex(r"[0-9]{1,2}-[0-9]{0,2}|-[0-9]{1,2}", fullmatch=True)


@given(
    st.text(max_size=30) | st.lists(SPEC, max_size=5).map(lambda specs: f"bytes={','.join(specs)}"),
    st.integers(0, 10**12),
)
def test_whatever_the_header_what_is_served_lies_inside_the_file(header: str, size: int) -> None:
    try:
        parts = wanted_ranges(header, size_bytes=size)
    except RangeUnsatisfiable:
        return
    for part in parts or []:
        assert part.start >= 0
        assert part.length >= 1
        assert part.end <= size
        assert part.content_range(size) == f"bytes {part.start}-{part.end - 1}/{size}"


@given(st.lists(SMALL, min_size=1, max_size=8), st.integers(1, 80))
def test_several_ranges_give_exactly_the_bytes_asked_for_and_none_twice(specs: list[str], size: int) -> None:
    asked: set[int] = set()
    for spec in specs:
        first, last = spec.split("-")
        if first and last and int(last) < int(first):
            return  # refused as a whole
        asked |= (
            set(range(int(first), int(last) + 1 if last else size)) if first else set(range(size)[-int(last) or size :])
        )
    asked &= set(range(size))
    try:
        parts = wanted_ranges(f"bytes={','.join(specs)}", size_bytes=size)
    except RangeUnsatisfiable:
        assert not asked
        return
    assert parts is not None
    served = [byte for part in parts for byte in range(part.start, part.end)]
    assert sorted(served) == sorted(asked)
    assert len(parts) == len({part.start for part in parts})

"""Range and If-Range."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stoker_dataset_gateway.downloads.ranges import ByteRange, wanted_range
from stoker_dataset_gateway.errors import RangeUnsatisfiable

ETAG = '"abc"'


def wanted(header: str | None, *, size: int = 1000, if_range: str | None = None) -> ByteRange | None:
    """What is served of a file."""
    return wanted_range(range_header=header, if_range=if_range, etag=ETAG, size_bytes=size)


@pytest.mark.parametrize(
    ("header", "start", "length"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=0-499", 0, 500),
        ("bytes=500-", 500, 500),
        ("bytes=999-", 999, 1),
        ("bytes=-1", 999, 1),
        ("bytes=-5000", 0, 1000),
        ("bytes=990-5000", 990, 10),
        ("Bytes = 1 - 2 ", 1, 2),
    ],
)
def test_a_range_inside_the_file_is_served(header: str, start: int, length: int) -> None:
    assert wanted(header) == ByteRange(start, length)


@pytest.mark.parametrize("header", ["bytes=1000-", "bytes=5-4", "bytes=-0", "bytes=-", "bytes=a-b", "bytes", "", "x"])
def test_a_range_outside_the_file_or_no_range_is_refused(header: str) -> None:
    with pytest.raises(RangeUnsatisfiable) as refused:
        wanted(header)
    assert refused.value.size_bytes == 1000


@pytest.mark.parametrize("header", [None, "items=0-1", "bytes=0-1,5-6"])
def test_no_range_another_unit_and_several_ranges_mean_the_whole_file(header: str | None) -> None:
    assert wanted(header) is None


@pytest.mark.parametrize("header", ["bytes=0-", "bytes=-1", "bytes=0-0"])
def test_an_empty_file_has_no_range(header: str) -> None:
    with pytest.raises(RangeUnsatisfiable):
        wanted(header, size=0)


@pytest.mark.parametrize("if_range", ['"abd"', 'W/"abc"', "abc", "Sat, 21 Nov 2026 00:00:00 GMT"])
def test_if_range_with_anything_but_this_etag_means_the_whole_file(if_range: str) -> None:
    assert wanted("bytes=0-1", if_range=if_range) is None
    assert wanted("bytes=0-1", if_range=ETAG) == ByteRange(0, 2)


@given(st.text(max_size=30) | st.from_regex(r"bytes=[0-9]{0,25}-[0-9]{0,25}", fullmatch=True), st.integers(0, 10**12))
def test_whatever_the_header_what_is_served_lies_inside_the_file(header: str, size: int) -> None:
    try:
        part = wanted(header, size=size)
    except RangeUnsatisfiable:
        return
    if part is not None:
        assert part.start >= 0
        assert part.length >= 1
        assert part.start + part.length <= size
        assert part.content_range(size) == f"bytes {part.start}-{part.start + part.length - 1}/{size}"

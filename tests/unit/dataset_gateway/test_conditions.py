"""Preconditions, If-Range, Accept-Encoding, and the name that a browser is told."""

import re
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.datastructures import Headers

from stoker_dataset_gateway.downloads.conditions import (
    Validators,
    is_compressible,
    is_range_valid,
    verdict,
    wants_gzip,
)
from stoker_dataset_gateway.downloads.headers import disposition

STORED = datetime(2026, 11, 22, 10, 30, 15, 123_456, tzinfo=UTC)
FILE = Validators("abc", STORED)


def http_date(moment: datetime) -> str:
    """As a header has it."""
    return format_datetime(moment, usegmt=True)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, "serve"),
        ({"If-None-Match": '"abc"'}, "not_modified"),
        ({"If-None-Match": 'W/"abc"'}, "not_modified"),
        ({"If-None-Match": '"x", W/"abc-gzip"'}, "not_modified"),
        ({"If-None-Match": "*"}, "not_modified"),
        ({"If-None-Match": '"x"'}, "serve"),
        ({"If-None-Match": "abc"}, "serve"),
        ({"If-Match": '"abc"'}, "serve"),
        ({"If-Match": "*"}, "serve"),
        ({"If-Match": 'W/"abc"'}, "failed"),
        ({"If-Match": '"x"'}, "failed"),
        ({"If-Match": '"x"', "If-None-Match": '"abc"'}, "failed"),
        ({"If-Modified-Since": http_date(STORED)}, "not_modified"),
        ({"If-Modified-Since": http_date(STORED - timedelta(seconds=1))}, "serve"),
        ({"If-Modified-Since": "yesterday"}, "serve"),
        ({"If-None-Match": '"x"', "If-Modified-Since": http_date(STORED)}, "serve"),
    ],
)
def test_preconditions_decide_as_rfc_9110_says(headers: dict[str, str], expected: str) -> None:
    assert verdict(Headers(headers), FILE) == expected


@pytest.mark.parametrize(
    ("if_range", "is_valid"),
    [
        (None, True),
        ('"abc"', True),
        ('"abd"', False),
        ('W/"abc"', False),
        ("abc", False),
        (FILE.gzip_etag, False),
        (http_date(STORED), True),
        (http_date(STORED + timedelta(seconds=1)), False),
        ("Sat, 99 Nov 2026 00:00:00 GMT", False),
    ],
)
def test_a_part_is_continued_only_with_the_strong_etag_or_the_exact_date(
    if_range: str | None, *, is_valid: bool
) -> None:
    assert is_range_valid(if_range, FILE) is is_valid


def test_a_file_of_unknown_age_has_no_date_to_go_by() -> None:
    ageless = Validators("abc", None)
    assert ageless.last_modified is None
    assert not is_range_valid(http_date(STORED), ageless)
    assert verdict(Headers({"If-Modified-Since": http_date(STORED)}), ageless) == "serve"


@pytest.mark.parametrize(
    ("header", "is_wanted"),
    [
        (None, False),
        ("", False),
        ("gzip", True),
        ("deflate, GZIP;q=0.5", True),
        ("gzip;q=0", False),
        ("identity", False),
        ("identity;q=1, gzip;q=0.5", False),
        ("gzip;q=nonsense", False),
        ("*", False),
        ("br, zstd", False),
    ],
)
def test_gzip_is_sent_only_to_who_asks_for_it(header: str | None, *, is_wanted: bool) -> None:
    assert wants_gzip(header) is is_wanted


@pytest.mark.parametrize(
    ("filename", "is_worthwhile"),
    [("a.jsonl", True), ("a.CSV", True), ("a.jsonl.gz", False), ("a.parquet", False), ("m.safetensors", False)],
)
def test_what_is_packed_already_is_not_packed_again(filename: str, *, is_worthwhile: bool) -> None:
    assert is_compressible(filename, 10_000) is is_worthwhile
    assert not is_compressible(filename, 100)


@given(st.text(max_size=60))
def test_no_header_makes_the_conditions_fail(text: str) -> None:
    for name in ("if-match", "if-none-match", "if-modified-since"):
        raw = [(name.encode(), text.encode("latin-1", "replace"))]
        assert verdict(Headers(raw=raw), FILE) in {"serve", "not_modified", "failed"}
    is_range_valid(text, FILE)
    wants_gzip(text)


@given(st.text(min_size=1, max_size=80))
def test_any_filename_makes_one_safe_header_that_says_it_whole(filename: str) -> None:
    header = disposition(filename)
    header.encode("ascii")
    plain = re.match(r'attachment; filename="([^"\\]*)"', header)
    assert plain is not None
    assert not re.search(r"[\x00-\x1f\x7f]", header)
    assert "/" not in plain.group(1)
    base = re.split(r"[/\\]", filename)[-1] or "download"
    told = header.partition("filename*=UTF-8''")[2]
    assert (unquote(told) if told else plain.group(1)) == base.encode("utf-8", "replace").decode()

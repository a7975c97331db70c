"""What the headers of tus mean, and how large parts are."""

import base64
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request

from stoker_dataset_gateway.storage import part_bytes_for
from stoker_dataset_gateway.uploads import tus


def request(**headers: str) -> Request:
    """A request with these headers; underscores are dashes."""
    raw = [(name.replace("_", "-").lower().encode(), value.encode("latin-1")) for name, value in headers.items()]
    return Request({"type": "http", "headers": raw})


@given(st.integers(min_value=0, max_value=10**15))
def test_parts_are_neither_too_many_nor_too_small(size: int) -> None:
    part = part_bytes_for(size)
    assert part >= 8 * 2**20
    assert -(-size // part) <= 9000


@given(st.binary(max_size=100))
def test_a_checksum_is_read_as_it_was_written(body: bytes) -> None:
    digest = hashlib.sha256(body).digest()
    header = f"sha256 {base64.b64encode(digest).decode()}"
    assert tus.body_sha256_of(request(Upload_Checksum=header)) == digest


@given(st.text(alphabet=st.characters(max_codepoint=255), max_size=60))
def test_any_other_checksum_is_refused_and_never_breaks(text: str) -> None:
    with pytest.raises(tus.HeaderUnreadable):
        tus.body_sha256_of(request(Upload_Checksum=text))


@given(st.text(alphabet=st.characters(max_codepoint=255), max_size=30))
def test_an_offset_is_digits_or_refused(text: str) -> None:
    if text.isascii() and text.isdigit() and len(text) <= 18:
        assert tus.offset_of(request(Upload_Offset=text)) == int(text)
    else:
        with pytest.raises(tus.HeaderUnreadable):
            tus.offset_of(request(Upload_Offset=text))


def test_without_a_checksum_there_is_none() -> None:
    assert tus.body_sha256_of(request()) is None


@pytest.mark.parametrize("content_type", ["application/offset+octet-stream", "Application/Offset+octet-stream; x=y"])
def test_the_body_type_is_read_as_http_has_it(content_type: str) -> None:
    tus.require_body_type(request(Content_Type=content_type))


@pytest.mark.parametrize("content_type", ["", "application/octet-stream", "application/offset"])
def test_another_body_type_is_refused(content_type: str) -> None:
    with pytest.raises(tus.BodyTypeUnsupported):
        tus.require_body_type(request(Content_Type=content_type))

"""Reading a body: bounded in bytes, packed and plain, checked against its schema."""

import zlib
from typing import TypeVar

from pydantic import ValidationError
from starlette.requests import ClientDisconnect, Request

from stoker_metrics.errors import BodyTooLarge, EncodingUnsupported
from stoker_metrics.reports.schemas import Report
from stoker_shared.errors import RequestInvalid
from stoker_shared.web.problems import invalid_request

ReportT = TypeVar("ReportT", bound=Report)


_GZIP = 31
"""Of zlib: the largest window, with the header of gzip."""


async def read_body(request: Request, *, limit: int) -> bytes:
    """The body, plain, unless it is larger than `limit` bytes, packed or plain.

    Raises:
        BodyTooLarge: as soon as that is clear; the rest is neither read nor unpacked.
        EncodingUnsupported: neither plain nor gzip.
        RequestInvalid: it is said to be gzip and is not.
    """
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in {"gzip", "identity"}:
        raise EncodingUnsupported(encoding)
    body = await _read(request, limit=limit)
    return unpacked(body, limit=limit) if encoding == "gzip" else body


def unpacked(body: bytes, *, limit: int) -> bytes:
    """What gzip packed, one member.

    Raises:
        BodyTooLarge: more than `limit` bytes; no more than that are unpacked.
        RequestInvalid: not gzip, cut off, or followed by something else.
    """
    unpacking = zlib.decompressobj(_GZIP)
    try:
        plain = unpacking.decompress(body, limit + 1)
    except zlib.error:
        raise _not_gzip("is not what it says") from None
    if len(plain) > limit:
        raise BodyTooLarge(limit)
    if not unpacking.eof:
        raise _not_gzip("ends too soon")
    if unpacking.unused_data:
        raise _not_gzip("goes on after its end")
    return plain


def _not_gzip(fault: str) -> RequestInvalid:
    return RequestInvalid(
        f"The body is said to be gzip and {fault}.", next_step="Send it again.", fields={"body": f"gzip: {fault}"}
    )


async def _read(request: Request, *, limit: int) -> bytes:
    if _announced_length(request) > limit:
        raise BodyTooLarge(limit)
    body, has_more = bytearray(), True
    # Not `request.stream()`: a generator costs more than the one part that most reports are.
    while has_more:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        body += message.get("body", b"")
        has_more = message.get("more_body", False)
        if len(body) > limit:
            raise BodyTooLarge(limit)
    return bytes(body)


def parse_report(report: type[ReportT], body: bytes) -> ReportT:
    """A report from JSON. NaN, Infinity and -Infinity, which Python writes, are taken for null.

    Raises:
        RequestInvalid: names the fields, never their values.
    """
    try:
        return report.model_validate_json(body)
    except ValidationError as error:
        raise invalid_request(error.errors(include_url=False, include_context=False, include_input=False)) from None


def _announced_length(request: Request) -> int:
    announced = request.headers.get("content-length", "")
    return int(announced) if announced.isdecimal() else 0

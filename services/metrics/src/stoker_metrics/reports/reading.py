"""Reading a body: bounded in bytes, checked against its schema."""

from typing import TypeVar

from pydantic import ValidationError
from starlette.requests import Request

from stoker_metrics.errors import BodyTooLarge
from stoker_metrics.reports.schemas import Report
from stoker_shared.web.problems import invalid_request

ReportT = TypeVar("ReportT", bound=Report)


async def read_body(request: Request, *, limit: int) -> bytes:
    """The body, unless it is larger than `limit` bytes.

    Raises:
        BodyTooLarge: as soon as that is clear; the rest is not read.
    """
    if _announced_length(request) > limit:
        raise BodyTooLarge(limit)
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
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

"""`GET /v2/pods/{id}/logs`: server-sent events that begin with the first line and never end by themselves."""

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime
from typing import cast

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from tests.simulators.runpod.cloud import Cloud
from tests.simulators.runpod.door import Visit
from tests.simulators.runpod.logbook import Line, LogBook, Source
from tests.simulators.runpod.problems import Problem

MOST_TAIL = 5_000
_HEADERS = {"Cache-Control": "no-cache", "Connection": "keep-alive", "X-Accel-Buffering": "no"}
_LOOK_SECONDS = 0.2


class LogEndpoint:
    """The log of a pod."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    async def follow(self, visit: Visit) -> Response:
        """Not even headers before there is a line; `Last-Event-ID` beats `since` beats `tail`."""
        visit.caller.demand_for_pod(visit.pod_id, "pods:read", "logs")
        pod = self._cloud.find(visit.caller.account, visit.pod_id)
        source = _source(visit.request)
        lines = _lines(pod.log, source, after=_start(visit.request, pod.log, source))
        first = await _first(lines, visit.request)
        return StreamingResponse(_events(first, lines), media_type="text/event-stream", headers=_HEADERS)


async def _lines(book: LogBook, source: Source | None, *, after: int) -> AsyncIterator[Line]:
    async for line in book.follow(after):
        if source in (None, line.source):
            yield line


async def _first(lines: AsyncIterator[Line], request: Request) -> Line | None:
    """The first line, waited for as long as the caller does; None: there will be none, or nobody listens."""
    waiting = asyncio.ensure_future(anext(lines, None))
    try:
        while not waiting.done():
            if await request.is_disconnected():
                return None
            await asyncio.wait((waiting,), timeout=_LOOK_SECONDS)
        return waiting.result()
    finally:
        waiting.cancel()


async def _events(first: Line | None, lines: AsyncIterator[Line]) -> AsyncIterator[str]:
    if first is None:
        return
    yield first.event()
    async for line in lines:
        yield line.event()


def _source(request: Request) -> Source | None:
    asked = request.query_params.get("source")
    if asked not in (None, "container", "system"):
        raise _unreadable("source", "must be one of 'container', 'system'")
    return cast("Source | None", asked)


def _start(request: Request, book: LogBook, source: Source | None) -> int:
    """The number of the line after which the stream begins."""
    cursor = request.headers.get("Last-Event-ID")
    if cursor is not None:
        return _after_cursor(cursor, book)
    lines = book.lines(source)
    since = request.query_params.get("since")
    if since is not None:
        moment = _moment(since, _unreadable("since", "must be an RFC 3339 timestamp"))
        return next((line.number - 1 for line in lines if line.at.replace(microsecond=0) >= moment), _last(book))
    tail = request.query_params.get("tail", "100")
    if not tail.isdecimal() or int(tail) > MOST_TAIL:
        raise _unreadable("tail", f"must be an integer from 0 to {MOST_TAIL}")
    shown = lines[-int(tail) :] if int(tail) else []
    return shown[0].number - 1 if shown else _last(book)


def _after_cursor(cursor: str, book: LogBook) -> int:
    refused = Problem(400, "Last-Event-ID is not a cursor of this endpoint")
    time, _, number = cursor.partition("/")
    moment = _moment(time, refused)
    if number:
        if not number.isdecimal():
            raise refused
        return int(number)
    # A bare time means that everything up to and in that second was seen.
    return max((line.number for line in book.lines() if line.at.replace(microsecond=0) <= moment), default=0)


def _last(book: LogBook) -> int:
    lines = book.lines()
    return lines[-1].number if lines else 0


def _moment(text: str, refusal: Problem) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise refusal from None
    if moment.tzinfo is None:
        raise refusal
    return moment


def _unreadable(name: str, what: str) -> Problem:
    return Problem(422, "Request validation failed.", errors=[f"query.{name}: {what}"])

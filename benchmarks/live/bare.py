"""The rival: sse-starlette on uvicorn alone. A posted step goes to every open stream of the same process.

No broker, no database, no key, no check of the body, nothing kept: `python -m benchmarks.live.bare PORT`.
"""

import asyncio
import sys
from collections.abc import AsyncIterator

import uvicorn
from sse_starlette import EventSourceResponse
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

_streams: set[asyncio.Queue[str]] = set()


async def take(request: Request) -> Response:
    """`POST /steps`."""
    text = (await request.body()).decode()
    for stream in _streams:
        stream.put_nowait(text)
    return Response(status_code=202)


async def follow(_request: Request) -> Response:
    """`GET /events`."""
    return EventSourceResponse(_events())


async def _events() -> AsyncIterator[dict[str, str]]:
    queue: asyncio.Queue[str] = asyncio.Queue()
    _streams.add(queue)
    try:
        while True:
            yield {"event": "metrics", "data": await queue.get()}
    finally:
        _streams.discard(queue)


application = Starlette(routes=[Route("/steps", take, methods=["POST"]), Route("/events", follow)])

if __name__ == "__main__":
    uvicorn.run(application, host="127.0.0.1", port=int(sys.argv[1]), loop="uvloop", log_level="warning")

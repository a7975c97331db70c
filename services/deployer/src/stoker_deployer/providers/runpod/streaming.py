"""A pod's log, which RunPod tells as server-sent events.

Quirks: the stream never ends by itself, nothing marks the end of what was before, and not even the headers come before
the first line. So silence is the only end there is, and no answer in time means that there is nothing to tell yet.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import httpx
from httpx_sse import EventSource, SSEError
from pydantic import ValidationError

from stoker_deployer.providers.runpod.client import RunpodClient
from stoker_deployer.providers.runpod.errors import Unreachable
from stoker_deployer.providers.runpod.refusals import is_absent, misshapen, refusal
from stoker_deployer.providers.runpod.schemas import LogEvent

IDLE = timedelta(seconds=60)
# A cursor that is refused, and an endpoint that was seen to answer so for all pods.
_NOT_AVAILABLE = (400, 422)


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line with its end. `event_id` is what the stream goes on after."""

    event_id: str
    text: str


class LogRefused(Exception):
    """There is no log from there on: the cursor is refused, the endpoint not available, or the pod gone."""


async def follow(
    client: RunpodClient, pod_id: str, *, since: datetime, after: str | None = None, idle: timedelta = IDLE
) -> AsyncGenerator[LogLine, None]:
    """Lines of a pod as they come, from `since` on, or after the event `after`. Ends after `idle` without any.

    Raises:
        LogRefused: there is nothing to be had.
        ProviderError: RunPod cannot be asked.
    """
    moment = since.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    try:
        async with client.log_stream(pod_id, since=moment, after=after, idle=idle) as response:
            _check(response)
            async with aclosing(EventSource(response).aiter_sse()) as events:
                async for event in events:
                    if event.data:
                        yield LogLine(event.id, _text(event.data))
    except httpx.ReadTimeout:
        return
    except (httpx.HTTPError, SSEError) as error:
        raise Unreachable(f"the log of {pod_id}: no answer ({type(error).__name__})") from error


async def collect(
    lines: AsyncGenerator[LogLine, None], *, first: timedelta, quiet: timedelta, whole: timedelta, most_bytes: int
) -> list[LogLine]:
    """What a stream has to tell now: until it is `quiet`, or enough was read. `first`: how long the first may take."""
    collected: list[LogLine] = []
    size = 0
    loop = asyncio.get_running_loop()
    until = loop.time() + whole.total_seconds()
    try:
        # Closed here: a stream that is left in its middle keeps its connection.
        async with aclosing(lines), asyncio.timeout(first.total_seconds()) as limit:
            async for line in lines:
                collected.append(line)
                size += len(line.text.encode())
                if size >= most_bytes:
                    break
                limit.reschedule(min(until, loop.time() + quiet.total_seconds()))
    except TimeoutError:
        # The stream has no other end.
        return collected
    return collected


def _check(response: httpx.Response) -> None:
    if response.is_success:
        return
    if is_absent(response) or response.status_code in _NOT_AVAILABLE:
        raise LogRefused(f"status {response.status_code}")
    raise refusal(response)


def _text(data: str) -> str:
    try:
        event = LogEvent.model_validate_json(data)
    except ValidationError:
        raise misshapen("GET /pods/{id}/logs", ["a line"]) from None
    line = event.line.rstrip("\r\n")
    return f"[system] {line}\n" if event.source == "system" else f"{line}\n"

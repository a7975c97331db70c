"""A stream that never ends, read in pieces by byte offsets."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta

import httpx
import pytest
from pydantic import SecretStr

from stoker_deployer.providers.runpod import runpod_http_client
from stoker_deployer.providers.runpod.client import RunpodClient
from stoker_deployer.providers.runpod.logs import PIECE_BYTES
from stoker_deployer.providers.runpod.streaming import follow
from stoker_shared.clock import ManualClock
from stoker_shared.errors import AuthFailed, UnknownOutcome
from tests.unit.deployer.runpod.account import KEY, NOW, SETTINGS, URL, Account, account, problem

HANDLE = "7h9k2m4n6p"
LOGS = f"{URL}/pods/{HANDLE}/logs"
LINES = ["pulling the image", "starting", "größer als gedacht", "step 1"]


class _NeverEnding(httpx.AsyncByteStream):
    """Frames, then silence for ever."""

    def __init__(self, frames: Sequence[str]) -> None:
        self._frames = frames

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for frame in self._frames:
            yield frame.encode()
        await asyncio.Event().wait()


def _frame(number: int, line: str, source: str = "container") -> str:
    data = json.dumps({"ts": "2026-11-22T12:00:03Z", "source": source, "line": line})
    return f"id: 2026-11-22T12:00:03Z/{number:012d}\ndata: {data}\n\n"


def _streams(here: Account, lines: list[str], *, first_is_system: bool = False) -> list[httpx.Request]:
    """Answers as RunPod does: `Last-Event-ID` is exclusive, and before `since`."""
    asked: list[httpx.Request] = []

    async def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        seen = int(request.headers.get("Last-Event-ID", "/0").rpartition("/")[2])
        frames = [
            _frame(number, line, "system" if first_is_system and number == 1 else "container")
            for number, line in enumerate(lines, start=1)
            if number > seen
        ]
        if not frames:
            # Not even the headers come before the first line.
            await asyncio.Event().wait()
        return httpx.Response(200, headers={"Content-Type": "text/event-stream"}, stream=_NeverEnding(frames))

    here.routes.get(LOGS).mock(side_effect=answer)
    return asked


async def test_what_is_there_is_read_and_silence_is_the_end() -> None:
    async with account() as here:
        _streams(here, LINES, first_is_system=True)
        piece = await here.provider.logs(HANDLE, offset=0)
    assert piece.text == "[system] pulling the image\nstarting\ngrößer als gedacht\nstep 1\n"
    assert piece.next_offset == len(piece.text.encode())


async def test_reading_on_asks_only_for_what_is_new() -> None:
    async with account() as here:
        lines = list(LINES)
        asked = _streams(here, lines)
        first = await here.provider.logs(HANDLE, offset=0)
        nothing = await here.provider.logs(HANDLE, offset=first.next_offset)
        lines.append("step 2")
        second = await here.provider.logs(HANDLE, offset=nothing.next_offset)
    assert (nothing.text, second.text) == ("", "step 2\n")
    assert second.next_offset == first.next_offset + 7
    assert "Last-Event-ID" not in asked[0].headers
    assert asked[0].url.params["since"] == "2020-01-01T00:00:00Z"
    assert asked[0].headers["Accept"] == "text/event-stream"
    assert [request.headers["Last-Event-ID"] for request in asked[1:]] == ["2026-11-22T12:00:03Z/000000000004"] * 2


async def test_any_offset_gives_the_same_bytes_in_every_process() -> None:
    whole = "".join(f"{line}\n" for line in LINES).encode()
    for offset in (0, 5, len(LINES[0]) + 1, len(whole) - 2):
        async with account() as here:
            _streams(here, LINES)
            piece = await here.provider.logs(HANDLE, offset=offset)
            assert (piece.text.encode(), piece.next_offset) == (whole[offset:], len(whole))


async def test_an_offset_behind_the_end_stays_where_it_is() -> None:
    async with account() as here:
        _streams(here, LINES)
        piece = await here.provider.logs(HANDLE, offset=10_000)
        assert (piece.text, piece.next_offset) == ("", 10_000)


async def test_a_long_log_comes_in_pieces_without_loss() -> None:
    lines = [f"{number:05d} {'x' * 1000}" for number in range(600)]
    async with account() as here:
        _streams(here, lines)
        text, offset = "", 0
        for _ in range(5):
            piece = await here.provider.logs(HANDLE, offset=offset)
            text, offset = text + piece.text, piece.next_offset
    assert text == "".join(f"{line}\n" for line in lines)


@pytest.mark.parametrize("status", [400, 404, 422])
async def test_a_log_that_is_not_to_be_had_is_empty(status: int) -> None:
    async with account() as here:
        here.routes.get(LOGS).mock(return_value=problem(status, "no"))
        piece = await here.provider.logs(HANDLE, offset=7)
        assert (piece.text, piece.next_offset) == ("", 7)


async def test_after_a_cursor_is_refused_the_log_is_read_from_its_beginning() -> None:
    async with account() as here:
        _streams(here, LINES)
        first = await here.provider.logs(HANDLE, offset=0)
        here.routes.get(LOGS).mock(return_value=problem(400, "bad cursor"))
        await here.provider.logs(HANDLE, offset=first.next_offset)
        _streams(here, [*LINES, "step 2"])
        again = await here.provider.logs(HANDLE, offset=first.next_offset)
        assert again.text == "step 2\n"


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (problem(401, "missing bearer token"), AuthFailed),
        (httpx.Response(502, text="<html>"), UnknownOutcome),
        (httpx.Response(404, text="<html>"), UnknownOutcome),
        (httpx.Response(200, json={"not": "a stream"}), UnknownOutcome),
        (
            httpx.Response(200, headers={"Content-Type": "text/event-stream"}, text="id: 1\ndata: no JSON\n\n"),
            UnknownOutcome,
        ),
    ],
    ids=["key", "gateway", "firewall", "no stream", "no line"],
)
async def test_a_log_that_cannot_be_asked_for_is_an_error(answer: httpx.Response, error: type[Exception]) -> None:
    async with account() as here:
        here.routes.get(LOGS).mock(return_value=answer)
        with pytest.raises(error):
            await here.provider.logs(HANDLE, offset=0)


class _Endless(httpx.AsyncByteStream):
    """A log that goes on for ever."""

    is_closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for number in itertools.count(1):
            yield _frame(number, "x" * 1000).encode()

    async def aclose(self) -> None:
        self.is_closed = True


async def test_a_stream_of_which_enough_was_read_is_closed() -> None:
    async with account() as here:
        endless = _Endless()
        headers = {"Content-Type": "text/event-stream"}
        here.routes.get(LOGS).mock(return_value=httpx.Response(200, headers=headers, stream=endless))
        piece = await here.provider.logs(HANDLE, offset=0)
        assert endless.is_closed
        assert len(piece.text) >= PIECE_BYTES


async def test_nothing_yet_is_an_empty_piece() -> None:
    async with account() as here:
        here.routes.get(LOGS).mock(side_effect=httpx.ReadTimeout)
        piece = await here.provider.logs(HANDLE, offset=0)
        assert (piece.text, piece.next_offset) == ("", 0)


async def test_a_connection_that_breaks_within_the_log_is_an_error() -> None:
    async with account() as here:
        here.routes.get(LOGS).mock(side_effect=httpx.ReadError)
        with pytest.raises(UnknownOutcome):
            await here.provider.logs(HANDLE, offset=0)


async def test_following_ends_after_a_while_of_silence() -> None:
    async with account() as here, runpod_http_client(SETTINGS) as http:
        client = RunpodClient(SecretStr(KEY), settings=SETTINGS, http=http, clock=ManualClock(NOW))
        answer = httpx.Response(
            200,
            headers={"Content-Type": "text/event-stream"},
            text=_frame(1, "one") + ": heartbeat\n\n" + _frame(2, "two"),
        )
        route = here.routes.get(LOGS).mock(return_value=answer)
        lines = [line async for line in follow(client, HANDLE, since=NOW, idle=timedelta(seconds=60))]
        assert [line.text for line in lines] == ["one\n", "two\n"]
        assert route.calls.last.request.extensions["timeout"]["read"] == 60

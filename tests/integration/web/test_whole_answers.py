"""Heads of answers go out with the first part of their body, and never wait for it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from stoker_shared.web.whole_answers import WholeAnswerProtocol
from tests.support.ports import free_port

REQUEST = b"%b / HTTP/1.1\r\nHost: here\r\nContent-Length: 2\r\n%b\r\n{}"
PARTS = [b"one", b"two", b"three"]


class Answering:
    """Sends a head, and its parts when it is let."""

    def __init__(self, *, status: int = 200) -> None:
        self.status = status
        self.may_go_on = asyncio.Event()
        self.may_go_on.set()

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        length = str(sum(map(len, PARTS))).encode()
        headers = [] if self.status == 204 else [(b"content-length", length)]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        parts = [] if self.status == 204 else PARTS
        for part in parts:
            await self.may_go_on.wait()
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


class Counted:
    """A connection of the server's side that counts how often it is written to."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self.writes = 0

    def write(self, data: bytes) -> None:
        self.writes += 1
        self._transport.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class Server:
    """Listens; keeps the connections that it has accepted."""

    def __init__(self, application: Answering) -> None:
        self._config = uvicorn.Config(application, lifespan="off", log_config=None)
        self._config.load()
        self.accepted: list[Counted] = []

    def protocol(self) -> WholeAnswerProtocol:
        """For one connection."""
        protocol = WholeAnswerProtocol(self._config, server_state=ServerState(), app_state={})
        made = protocol.connection_made

        def connection_made(transport: asyncio.Transport) -> None:
            self.accepted.append(Counted(transport))
            made(self.accepted[-1])  # type: ignore[arg-type]

        protocol.connection_made = connection_made  # type: ignore[method-assign]
        return protocol


@dataclass
class Connected:
    """A connection to a server."""

    server: Server
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter


@asynccontextmanager
async def connected(application: Answering) -> AsyncIterator[Connected]:
    """A connection to a server of the application."""
    server, port = Server(application), free_port()
    listening = await asyncio.get_running_loop().create_server(server.protocol, "127.0.0.1", port)
    async with listening:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            yield Connected(server, reader, writer)
        finally:
            writer.close()


async def head_of(reader: asyncio.StreamReader) -> bytes:
    """The head of the next answer."""
    async with asyncio.timeout(5):
        return await reader.readuntil(b"\r\n\r\n")


async def test_head_and_first_part_are_written_together() -> None:
    async with connected(Answering()) as connection:
        for asked in range(1, 20):
            connection.writer.write(REQUEST % (b"POST", b""))
            assert b"200 OK" in await head_of(connection.reader)
            assert await connection.reader.readexactly(11) == b"onetwothree"
            assert connection.server.accepted[0].writes == asked * (len(PARTS) + 1), "its parts and the empty end"


async def test_a_head_does_not_wait_for_a_body_that_comes_later() -> None:
    application = Answering()
    application.may_go_on.clear()
    async with connected(application) as connection:
        connection.writer.write(REQUEST % (b"GET", b""))
        assert b"200 OK" in await head_of(connection.reader)
        application.may_go_on.set()
        assert await connection.reader.readexactly(11) == b"onetwothree"


@pytest.mark.parametrize(("method", "status"), [(b"HEAD", 200), (b"DELETE", 204)])
async def test_an_answer_without_a_body_comes_and_the_connection_stays(method: bytes, status: int) -> None:
    async with connected(Answering(status=status)) as connection:
        for _ in range(2):
            connection.writer.write(REQUEST % (method, b""))
            assert str(status).encode() in await head_of(connection.reader)


async def test_the_last_answer_of_a_connection_is_whole() -> None:
    async with connected(Answering()) as connection:
        connection.writer.write(REQUEST % (b"POST", b"Connection: close\r\n"))
        answer = await connection.reader.read()
        assert answer.startswith(b"HTTP/1.1 200 OK")
        assert answer.endswith(b"\r\n\r\nonetwothree")


async def test_requests_sent_in_one_go_are_answered_in_turn() -> None:
    async with connected(Answering()) as connection:
        connection.writer.write(REQUEST % (b"POST", b"") * 3)
        for _ in range(3):
            assert b"200 OK" in await head_of(connection.reader)
            assert await connection.reader.readexactly(11) == b"onetwothree"


async def test_who_asks_to_go_on_is_told_before_the_answer() -> None:
    async with connected(Answering()) as connection:
        connection.writer.write((REQUEST % (b"POST", b"Expect: 100-continue\r\n")).removesuffix(b"{}"))
        assert b"100 Continue" in await head_of(connection.reader)
        connection.writer.write(b"{}")
        assert b"200 OK" in await head_of(connection.reader)
        assert await connection.reader.readexactly(11) == b"onetwothree"

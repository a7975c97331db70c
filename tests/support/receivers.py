"""A real HTTP server that receives webhooks and answers as it is told, well or badly."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any

from stoker_metrics.notifications.addresses import Address

OK = b"HTTP/1.1 204 No Content\r\n\r\n"
HANG = b""
"""Accept, read, and never say anything."""


def answer(status: int, *headers: str, body: str = "") -> bytes:
    """The bytes of an answer."""
    lines = [f"HTTP/1.1 {status} Whatever", f"Content-Length: {len(body)}", *headers, "", body]
    return "\r\n".join(lines).encode()


@dataclass
class Received:
    """A request as it came."""

    line: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Receiver:
    """Requests in order of arrival. `answers` are used up one by one, the last one for all that follow."""

    answers: list[bytes] = field(default_factory=lambda: [OK])
    requests: list[Received] = field(default_factory=list)
    connections: int = 0
    port: int = 0
    # Called with each request before it is answered.
    on_request: Callable[[Received], Any] | None = None

    @property
    def url(self) -> str:
        """Over plain HTTP by its number."""
        return f"http://127.0.0.1:{self.port}/hook"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, one request."""
        self.connections += 1
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            line, *fields = head.split("\r\n")
            headers = {
                name.lower(): value.strip() for name, _, value in (item.partition(":") for item in fields if item)
            }
            request = Received(line, headers, await reader.readexactly(int(headers.get("content-length", "0"))))
            self.requests.append(request)
            if self.on_request is not None:
                self.on_request(request)
            said = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
            if said == HANG:
                await reader.read()  # until the other side gives up
            writer.write(said)
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def receiving(*answers: bytes, tls: ssl.SSLContext | None = None) -> AsyncIterator[Receiver]:
    """A receiver on a free port of this machine."""
    receiver = Receiver(answers=list(answers) or [OK])
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0, ssl=tls)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        server.close()


class Names:
    """A DNS of ours: each name has a list of answers, one for each question; the last one stays."""

    def __init__(self, **answers: Sequence[Sequence[str]]) -> None:
        self.answers = {name.replace("_", "."): [list(found) for found in given] for name, given in answers.items()}
        self.asked: list[str] = []

    async def __call__(self, host: str, _port: int) -> list[Address]:
        self.asked.append(host)
        if host not in self.answers:
            raise OSError("no such name")
        given = self.answers[host]
        found = given.pop(0) if len(given) > 1 else given[0]
        return [ip_address(text) for text in found]

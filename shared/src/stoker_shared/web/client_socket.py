"""Lends the client's socket to a response, so that the kernel can move bytes that this process never touches."""

import asyncio
import os
from typing import Any

from starlette.types import Scope
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

_EXTENSION = "stoker.client_socket"


class ClientSocket:
    """The connection of one request. `lend` it between two body messages, write to it, and `note_sent` how much."""

    def __init__(self, protocol: HttpToolsProtocol, cycle: RequestResponseCycle) -> None:
        self._transport = protocol.transport
        self._cycle = cycle

    async def lend(self) -> int:
        """A non-blocking file descriptor to write to, once all that was sent before is out. The borrower closes it.

        Raises:
            ConnectionError: the client is gone.
        """
        while self._transport.get_write_buffer_size():
            if self._cycle.disconnected:
                break
            await asyncio.sleep(0.001 if self._cycle.flow.write_paused else 0)
        if self._cycle.disconnected or self._transport.is_closing():
            raise ConnectionResetError
        # A descriptor of its own: the server may close its own at any time, and the number be given to another file.
        return os.dup(self._transport.get_extra_info("socket").fileno())

    def note_sent(self, count: int) -> None:
        """Tell the server that `count` bytes of the announced Content-Length went out past it."""
        self._cycle.expected_content_length -= count

    def abort(self) -> None:
        """Cut the connection, so that the client cannot take what it has for the whole."""
        self._transport.abort()


class LendingProtocol(HttpToolsProtocol):
    """Uvicorn's protocol with `ClientSocket` in the scope. Not over TLS: there the kernel cannot write for us."""

    def on_headers_complete(self) -> None:
        """Begin a request."""
        super().on_headers_complete()
        cycle: Any = self.cycle
        if cycle is not None and self.transport.get_extra_info("sslcontext") is None:
            cycle.scope["extensions"] = {**(cycle.scope.get("extensions") or {}), _EXTENSION: ClientSocket(self, cycle)}


def client_socket(scope: Scope) -> ClientSocket | None:
    """The client's socket; None with another server, over TLS, or for a client that is simulated."""
    found: ClientSocket | None = (scope.get("extensions") or {}).get(_EXTENSION)
    return found

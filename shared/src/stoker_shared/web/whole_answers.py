"""Sends the head of an answer together with the first part of its body.

Uvicorn writes them apart: a second system call, and a client that is woken twice, for every answer.
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class WholeAnswerProtocol(HttpToolsProtocol):
    """Uvicorn's protocol, with `HeadHolding` between an answer and the connection."""

    def on_headers_complete(self) -> None:
        """Begin a request."""
        super().on_headers_complete()
        cycle: Any = self.cycle
        if cycle is not None:
            cycle.transport = HeadHolding(self.transport)


class HeadHolding:
    """The connection, as the answer to one request writes to it.

    What is written first waits for what is written next, but never longer than to the loop's next turn: the head of a
    stream of events is out before its first event.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._head: bytes | None = None
        self._is_out = False

    def write(self, data: bytes) -> None:
        """Send, now or with what comes next."""
        if self._is_out:
            self._transport.write(data)
        elif self._head is None:
            self._head = data
            asyncio.get_running_loop().call_soon(self._flush)
        else:
            self._is_out = True
            self._transport.write(self._head + data)

    def close(self) -> None:
        """Close the connection once all is out."""
        self._flush()
        self._transport.close()

    def is_closing(self) -> bool:
        """Whether nothing can be sent any more."""
        return self._transport.is_closing()

    def _flush(self) -> None:
        if self._is_out or self._head is None:
            return
        self._is_out = True
        # The client may have hung up since.
        if not self._transport.is_closing():
            self._transport.write(self._head)

"""Ports that are kept from others from the moment of their choice, also while their server is not listening.

A port that was seen to be free may be gone when its server starts: other stacks choose at the same time. A held port
is bound and does not listen. Its own server may listen on it, because servers set SO_REUSEADDR and so does what is
bound here; whoever looks for a free port does not set it before binding, and is refused.
"""

import socket
from types import TracebackType
from typing import Self

LOOPBACK = "127.0.0.1"


class HeldPorts:
    """The ports of one stack, given free by `release`. A port that is held already is held once."""

    def __init__(self) -> None:
        self._sockets: dict[int, socket.socket] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()

    def __contains__(self, port: int) -> bool:
        return port in self._sockets

    def take(self, port: int) -> bool:
        """Hold a port that nobody uses or holds. False if somebody does, or did a moment ago (TIME_WAIT)."""
        return self._bind(port, reuse_before=False)

    def take_over(self, port: int) -> bool:
        """Hold a port that is ours from earlier: where no server listens now, old connections do not count."""
        return port in self or self._bind(port, reuse_before=True)

    def release(self) -> None:
        """Give all of them free."""
        for held in self._sockets.values():
            held.close()
        self._sockets.clear()

    def _bind(self, port: int, *, reuse_before: bool) -> bool:
        candidate = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            if reuse_before:
                candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            candidate.bind((LOOPBACK, port))
            candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        except OSError:
            candidate.close()
            return False
        self._sockets[port] = candidate
        return True

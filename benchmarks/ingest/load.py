"""Pods that post one batch after the other over kept connections, in one loop: the same client for every server."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import cast

import httptools

Body = Callable[[int, int], bytes]
"""From the first number and the count of a batch to its JSON."""


@dataclass(frozen=True)
class Target:
    """Where one pod posts to. Numbers of its points go on from `first`."""

    host: str
    port: int
    path: str
    body: Body
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Load:
    """What the pods met: points that were taken, seconds of each answer, answers that were no 2xx by status."""

    points: int = 0
    seconds: float = 0.0
    answers: list[float] = field(default_factory=list)
    refused: dict[int, int] = field(default_factory=dict)

    @property
    def points_per_second(self) -> float:
        """Acknowledged."""
        return self.points / self.seconds

    @property
    def p99(self) -> float:
        """Seconds; 99 of 100 answers came sooner."""
        return sorted(self.answers)[min(len(self.answers) - 1, int(len(self.answers) * 0.99))]


class Pod(asyncio.Protocol):
    """One connection; a batch that is refused is sent again. It ends by itself with the last answer."""

    def __init__(self, target: Target, load: Load, *, first: int, batch: int, until: float) -> None:
        self._target = target
        self._load = load
        self._batch = batch
        self._until = until
        self._request = b""
        self._sent_at = 0.0
        self._parser = httptools.HttpResponseParser(self)
        self.next_number = first
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass
        self._send_next()

    def data_received(self, data: bytes) -> None:
        """Bytes of an answer."""
        self._parser.feed_data(data)

    def connection_lost(self, error: Exception | None) -> None:
        """The server hung up."""
        if not self.done.done():
            self.done.set_exception(error or ConnectionError(f"{self._target.path}: the server closed the connection"))

    def on_message_complete(self) -> None:
        """An answer is whole."""
        status = self._parser.get_status_code()
        self._parser = httptools.HttpResponseParser(self)
        if status < 300:
            self._load.answers.append(time.perf_counter() - self._sent_at)
            self._load.points += self._batch
            self.next_number += self._batch
            self._send_next()
            return
        self._load.refused[status] = self._load.refused.get(status, 0) + 1
        asyncio.get_running_loop().call_later(0.05, self._send)

    def _send_next(self) -> None:
        if time.perf_counter() >= self._until:
            self.done.set_result(None)
            self._transport.close()
            return
        self._request = _request(self._target, self._target.body(self.next_number, self._batch))
        self._send()

    def _send(self) -> None:
        self._sent_at = time.perf_counter()
        self._transport.write(self._request)


async def run_load(targets: Sequence[Target], *, first: Sequence[int], batch: int, seconds: float) -> Load:
    """One pod for each target, all at once. `first`: the next number of each."""
    load, loop = Load(), asyncio.get_running_loop()
    started = time.perf_counter()
    pods = [
        Pod(target, load, first=number, batch=batch, until=started + seconds)
        for target, number in zip(targets, first, strict=True)
    ]
    for pod, target in zip(pods, targets, strict=True):
        await loop.create_connection(lambda pod=pod: pod, target.host, target.port)  # type: ignore[misc]
    await asyncio.gather(*(pod.done for pod in pods))
    load.seconds = time.perf_counter() - started
    return load


def _request(target: Target, body: bytes) -> bytes:
    headers = "".join(f"{name}: {value}\r\n" for name, value in target.headers.items())
    head = (
        f"POST {target.path} HTTP/1.1\r\nHost: {target.host}:{target.port}\r\n{headers}"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body

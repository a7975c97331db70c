"""What a pod and its host print, kept as long as the pod is known, and told line by line as it comes."""

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

Source = Literal["container", "system"]
MOST_LINES = 20_000


@dataclass(frozen=True, slots=True)
class Line:
    """One line; `number` counts from 1 over both sources."""

    at: datetime
    number: int
    source: Source
    text: str

    @property
    def time(self) -> str:
        """To the second, as the API tells it."""
        return self.at.strftime("%Y-%m-%dT%H:%M:%SZ")

    @property
    def cursor(self) -> str:
        """The id of its event."""
        return f"{self.time}/{self.number:012d}"

    def event(self) -> str:
        """As it is sent."""
        return f"id: {self.cursor}\ndata: {json.dumps({'ts': self.time, 'source': self.source, 'line': self.text})}\n\n"


class LogBook:
    """The log of one pod."""

    def __init__(self) -> None:
        self._lines: deque[Line] = deque(maxlen=MOST_LINES)
        self._count = 0
        self._news = asyncio.Event()
        self.is_closed = False

    def add(self, at: datetime, source: Source, text: str) -> None:
        """One more line."""
        self._count += 1
        self._lines.append(Line(at, self._count, source, text))
        self._wake()

    def close(self) -> None:
        """The pod is gone: whoever follows has read all there is."""
        self.is_closed = True
        self._wake()

    def lines(self, source: Source | None = None) -> list[Line]:
        """What is kept."""
        return [line for line in self._lines if source in (None, line.source)]

    async def follow(self, after: int) -> AsyncIterator[Line]:
        """Lines with a higher number, for ever; ends when the log is closed."""
        while True:
            news = self._news
            for line in [line for line in self._lines if line.number > after]:
                after = line.number
                yield line
            if self.is_closed and self._count <= after:
                return
            if self._news is news:
                await news.wait()

    def _wake(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

"""The log, from the first line on, to the metrics service. Line n of the file is sequence n, whoever sends it."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic
from typing import Any, BinaryIO

from .calls import Answer
from .outside import now

MAX_LINES = 500
MAX_BYTES = 200_000
MAX_CHARACTERS = 8_000
LAST_LINES = 50
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
_STAMPED = re.compile(r"\[([0-9T:.-]+Z)\] (.*)", re.DOTALL)

Send = Callable[[str, dict[str, Any]], Answer]
"""Sends a kind of report with its body."""


class Shipper:
    """Sends what is in the log file and not sent yet. How far it is, is on disk."""

    def __init__(self, log: Path, *, send: Send, clock: Callable[[], float] = monotonic) -> None:
        self._log = log
        self._position = log.with_name("shipped")
        self._send = send
        self._clock = clock
        self._lines, self._offset = _read_position(self._position)
        self._limit = MAX_LINES
        self._failures = 0
        self._not_before = 0.0

    def ship(self) -> bool:
        """Send all that waits, as long as it is taken. True: nothing waits any more."""
        while self._clock() >= self._not_before:
            batch, offset = self._next_batch()
            if not batch:
                return True
            answer = self._send("logs", {"lines": batch})
            if answer.is_yes or (answer.status in {413, 422} and len(batch) == 1):
                self._failures, self._limit = 0, MAX_LINES
                self._moved(len(batch), offset)
            elif answer.status in {413, 422}:
                self._limit = len(batch) // 2
            else:
                self._pause(answer)
        return False

    def last_lines(self) -> list[str]:
        """The newest lines without their times, oldest first."""
        with self._log.open("rb") as file:
            file.seek(max(0, self._log.stat().st_size - 64_000))
            lines = file.read().decode("utf-8", "replace").splitlines()
        return [_parsed(line)[1] for line in lines[-LAST_LINES:]]

    def _next_batch(self) -> tuple[list[dict[str, Any]], int]:
        if not self._log.exists():
            return [], 0
        batch: list[dict[str, Any]] = []
        with self._log.open("rb") as file:
            file.seek(self._offset)
            for line in _whole_lines(file, self._limit):
                at, text = _parsed(line)
                batch.append({"sequence": self._lines + len(batch) + 1, "at": at, "stream": "pod", "text": text})
            return batch, file.tell()

    def _moved(self, count: int, offset: int) -> None:
        self._lines += count
        self._offset = offset
        new = self._position.with_name("shipped.new")
        try:
            new.write_text(f"{self._lines} {self._offset}")
            new.replace(self._position)
        except OSError:
            return  # a full disk: what is sent again after a restart counts once

    def _pause(self, answer: Answer) -> None:
        pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(self._failures, 10))
        self._failures += 1
        self._not_before = self._clock() + (pause if answer.retry_after is None else answer.retry_after)


def _whole_lines(file: BinaryIO, limit: int) -> Iterator[str]:
    """Lines that are complete, within the limits; the file is left behind the last one."""
    size = 0
    for _ in range(limit):
        start = file.tell()
        line = file.readline()
        size += min(len(line), 4 * MAX_CHARACTERS)
        if not line.endswith(b"\n") or (size > MAX_BYTES and size > len(line)):
            file.seek(start)
            return
        yield line[:-1].decode("utf-8", "replace")


def _parsed(line: str) -> tuple[str, str]:
    found = _STAMPED.fullmatch(line)
    at, text = (found[1], found[2]) if found else (now(), line)
    return at, text[:MAX_CHARACTERS]


def _read_position(path: Path) -> tuple[int, int]:
    try:
        lines, offset = path.read_text().split()
        return int(lines), int(offset)
    except (FileNotFoundError, ValueError):
        return 0, 0

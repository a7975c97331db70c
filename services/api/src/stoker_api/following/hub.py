"""Who in this process follows which job. Job events are only announced here; streams read them from the database."""

import asyncio
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from stoker_api.errors import TooManyStreams


@dataclass(frozen=True, slots=True)
class Telemetry:
    """One thing that a machine reported, as the text of a Server-Sent Event."""

    name: str
    data: str


class Feed:
    """What one stream has yet to send. Telemetry is bounded: the oldest is dropped and counted."""

    def __init__(self, queue_size: int) -> None:
        self._telemetry: deque[Telemetry] = deque(maxlen=queue_size)
        self._dropped = 0
        self._awake = asyncio.Event()

    def push(self, item: Telemetry) -> None:
        """Queue telemetry."""
        if len(self._telemetry) == self._telemetry.maxlen:
            self._dropped += 1
        self._telemetry.append(item)
        self._awake.set()

    def wake(self) -> None:
        """There may be a new job event."""
        self._awake.set()

    def take(self) -> tuple[int, list[Telemetry]]:
        """How many were dropped since the last call, and what is queued."""
        taken = (self._dropped, list(self._telemetry))
        self._dropped = 0
        self._telemetry.clear()
        return taken

    async def wait(self, seconds: float) -> None:
        """Until something happens, or for that long."""
        try:
            async with asyncio.timeout(seconds):
                await self._awake.wait()
        except TimeoutError:
            return
        self._awake.clear()


class LiveHub:
    """Hands what happens to the feeds of a job."""

    def __init__(self, *, queue_size: int, max_feeds: int) -> None:
        self._queue_size = queue_size
        self._max_feeds = max_feeds
        self._feeds: dict[str, set[Feed]] = {}
        self._count = 0

    @property
    def feed_count(self) -> int:
        """How many streams are open."""
        return self._count

    def require_room(self) -> None:
        """Refuse before a stream begins.

        Raises:
            TooManyStreams: this replica serves as many as it may.
        """
        if self._count >= self._max_feeds:
            raise TooManyStreams(self._max_feeds)

    def is_followed(self, job_id: str) -> bool:
        """Whether anybody here would hear of this job."""
        return job_id in self._feeds

    @contextmanager
    def follow(self, job_id: str) -> Iterator[Feed]:
        """A feed for as long as the block lasts."""
        feed = Feed(self._queue_size)
        self._feeds.setdefault(job_id, set()).add(feed)
        self._count += 1
        try:
            yield feed
        finally:
            self._count -= 1
            followers = self._feeds[job_id]
            followers.discard(feed)
            if not followers:
                del self._feeds[job_id]

    def push(self, job_id: str, item: Telemetry) -> None:
        """Tell everybody who follows this job."""
        for feed in self._feeds.get(job_id, ()):
            feed.push(item)

    def wake(self, job_id: str) -> None:
        """This job has a new event."""
        for feed in self._feeds.get(job_id, ()):
            feed.wake()

    def wake_all(self) -> None:
        """Announcements may have been missed."""
        for followers in self._feeds.values():
            for feed in followers:
                feed.wake()

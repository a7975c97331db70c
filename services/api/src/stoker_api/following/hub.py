"""Who in this process follows which job. Job events are only announced here; streams read them from the database."""

import asyncio
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from stoker_api.errors import TooManyStreams


class Feed:
    """What one stream has yet to send. Telemetry is bounded: the oldest is dropped and counted."""

    def __init__(self, queue_size: int) -> None:
        self._telemetry: deque[bytes] = deque(maxlen=queue_size)
        self._dropped = 0
        self._is_woken = False
        self._awake = asyncio.Event()

    def push(self, item: bytes) -> None:
        """Queue telemetry, as it goes over the wire."""
        if len(self._telemetry) == self._telemetry.maxlen:
            self._dropped += 1
        self._telemetry.append(item)
        self._awake.set()

    def wake(self) -> None:
        """There may be a new job event."""
        self._is_woken = True
        self._awake.set()

    def take(self) -> tuple[int, list[bytes]]:
        """How many were dropped since the last call, and what is queued."""
        taken = (self._dropped, list(self._telemetry))
        self._dropped = 0
        self._telemetry.clear()
        return taken

    async def wait(self, until: float) -> bool:
        """Until something happens, or until that time of the loop. Returns whether job events may have come.

        Telemetry alone is no reason to ask the database: it comes with every step, to every stream of the job.
        """
        try:
            async with asyncio.timeout_at(until):
                await self._awake.wait()
        except TimeoutError:
            return True
        self._awake.clear()
        was_woken, self._is_woken = self._is_woken, False
        return was_woken


class LiveHub:
    """Hands what happens to the feeds of a job."""

    def __init__(self, *, queue_size: int, max_feeds: int) -> None:
        self._queue_size = queue_size
        self._max_feeds = max_feeds
        self._feeds: dict[str, set[Feed]] = {}
        self._count = 0
        self._announced = 0

    @property
    def feed_count(self) -> int:
        """How many streams are open."""
        return self._count

    @property
    def announced(self) -> int:
        """Rises with everything that is announced: what was read before this number rose may be out of date."""
        return self._announced

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

    def push(self, job_id: str, item: bytes) -> None:
        """Tell everybody who follows this job."""
        for feed in self._feeds.get(job_id, ()):
            feed.push(item)

    def wake(self, job_id: str) -> None:
        """This job has a new event."""
        self._announced += 1
        for feed in self._feeds.get(job_id, ()):
            feed.wake()

    def wake_all(self) -> None:
        """Announcements may have been missed."""
        self._announced += 1
        for followers in self._feeds.values():
            for feed in followers:
                feed.wake()

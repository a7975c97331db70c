"""The stream of one job: stored events in order, then whatever happens, until the job is over."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

from stoker_api.following.hub import Feed, LiveHub
from stoker_api.following.looking import JobLooks
from stoker_api.following.wire import dropped

# How soon to look again while events wait for one that was overtaken, or the database is away.
_SOON = timedelta(milliseconds=250)


class JobFollower:
    """Makes streams. Between two looks at the database a stream holds no connection."""

    def __init__(self, looks: JobLooks, *, hub: LiveHub, heartbeat: timedelta) -> None:
        self.hub = hub
        self.heartbeat = heartbeat
        self._looks = looks

    async def follow(self, job_id: str, *, after: int) -> AsyncIterator[bytes]:
        """Events of a job after a sequence. The caller has checked whose job it is. Ends after the last event."""
        loop, last, must_look, look_at = asyncio.get_running_loop(), after, True, 0.0
        # Follow first, read then: an event between the two is announced to the feed.
        with self.hub.follow(job_id) as feed:
            while True:
                seen = await self._looks.look(job_id, after=last) if must_look else None
                for chunk in _telemetry(feed):
                    yield chunk
                if seen is not None:
                    for event in seen.events:
                        yield event
                    if seen.is_over:
                        return
                    last = seen.last
                    look_at = loop.time() + (_SOON if seen.is_waiting else self.heartbeat).total_seconds()
                must_look = await feed.wait(look_at)


def _telemetry(feed: Feed) -> list[bytes]:
    lost, items = feed.take()
    return [dropped(lost), *items] if lost else items

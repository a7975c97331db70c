"""The stream of one job: stored events in order, then whatever happens, until the job is over."""

from collections.abc import AsyncIterator
from datetime import timedelta

from sse_starlette import ServerSentEvent

from stoker_api.following.hub import Feed, LiveHub
from stoker_api.following.ordering import sendable
from stoker_api.following.schemas import DroppedUpdate, job_update
from stoker_api.jobs.repository import JobRepository
from stoker_api.jobs.tables import JobEventRow
from stoker_shared.clock import Clock
from stoker_shared.database import Database
from stoker_shared.errors import ServiceUnavailable
from stoker_shared.job_state import JobStatus
from stoker_shared.logging import get_logger

logger = get_logger(__name__)

_PAGE = 200
# How soon to look again while events wait for one that was overtaken, or the database is away.
_SOON = timedelta(milliseconds=250)


class JobFollower:
    """Makes streams. Between two looks at the database a stream holds no connection."""

    def __init__(
        self, database: Database, *, hub: LiveHub, clock: Clock, heartbeat: timedelta, gap_patience: timedelta
    ) -> None:
        self._database = database
        self.hub = hub
        self._clock = clock
        self.heartbeat = heartbeat
        self._gap_patience = gap_patience
        self._rows = JobRepository()

    async def follow(self, job_id: str, *, after: int) -> AsyncIterator[ServerSentEvent]:
        """Events of a job after a sequence. The caller has checked whose job it is. Ends after the last event."""
        last = after
        # Follow first, read then: an event between the two is announced to the feed.
        with self.hub.follow(job_id) as feed:
            while True:
                events, is_waiting, is_over = await self._look(job_id, last)
                for telemetry in _telemetry(feed):
                    yield telemetry
                for event in events:
                    yield _job_event(event)
                    last = event.sequence
                if is_over:
                    return
                await feed.wait((_SOON if is_waiting else self.heartbeat).total_seconds())

    async def _look(self, job_id: str, last: int) -> tuple[list[JobEventRow], bool, bool]:
        # Returns the events to send, whether to look again soon, and whether they are the last.
        try:
            async with self._database.transaction() as session:
                status = await self._rows.status_of(session, job_id=job_id)
                stored = await self._rows.events_after(session, job_id=job_id, sequence=last, limit=_PAGE)
        except ServiceUnavailable as error:
            logger.warning("event stream waits", reason=error.detail)
            return [], True, False
        events = list(sendable(stored, after=last, now=self._clock.now(), patience=self._gap_patience))
        if events and _is_terminal(events[-1]):
            return events, False, True
        has_sent_all = len(events) == len(stored) and len(stored) < _PAGE
        is_over = has_sent_all and (status is None or status.is_terminal)
        return events, not has_sent_all, is_over


def _telemetry(feed: Feed) -> list[ServerSentEvent]:
    dropped, items = feed.take()
    told = [ServerSentEvent(item.data, event=item.name, sep="\n") for item in items]
    if dropped:
        told.insert(0, ServerSentEvent(DroppedUpdate(dropped=dropped).model_dump_json(), event="dropped", sep="\n"))
    return told


def _job_event(event: JobEventRow) -> ServerSentEvent:
    return ServerSentEvent(job_update(event.payload).model_dump_json(), event="job", id=str(event.sequence), sep="\n")


def _is_terminal(event: JobEventRow) -> bool:
    return JobStatus(event.payload["status"]).is_terminal

"""Reading a job's events for its streams: those that ask the same at the same time share one question."""

import asyncio
from dataclasses import dataclass
from datetime import timedelta

from stoker_api.following.hub import LiveHub
from stoker_api.following.ordering import sendable
from stoker_api.following.wire import job_event
from stoker_api.jobs.repository import JobRepository
from stoker_api.jobs.tables import JobEventRow
from stoker_shared.clock import Clock
from stoker_shared.database import Database
from stoker_shared.errors import ServiceUnavailable
from stoker_shared.job_state import JobStatus
from stoker_shared.logging import get_logger

logger = get_logger(__name__)

_PAGE = 200


@dataclass(frozen=True, slots=True)
class Seen:
    """What a look found: events as they go over the wire, the sequence of the last, and what to do after them."""

    events: tuple[bytes, ...]
    last: int
    is_waiting: bool = False
    is_over: bool = False


class JobLooks:
    """A thousand streams of one job, woken by one event, ask the database once."""

    def __init__(self, database: Database, *, hub: LiveHub, clock: Clock, gap_patience: timedelta) -> None:
        self._database = database
        self._hub = hub
        self._clock = clock
        self._gap_patience = gap_patience
        self._rows = JobRepository()
        self._running: dict[tuple[str, int, int], asyncio.Task[Seen]] = {}

    async def look(self, job_id: str, *, after: int) -> Seen:
        """Events after a sequence that may be sent now.

        Only a look that began after the last announcement is shared: an earlier one may not see what was announced.
        """
        key = (job_id, after, self._hub.announced)
        task = self._running.get(key)
        if task is None:
            task = asyncio.create_task(self._look(job_id, after), name=f"look at {job_id}")
            self._running[key] = task
            task.add_done_callback(lambda _: self._running.pop(key))
        # A stream that is closed does not take the answer away from the others.
        return await asyncio.shield(task)

    async def _look(self, job_id: str, after: int) -> Seen:
        try:
            async with self._database.transaction() as session:
                status = await self._rows.status_of(session, job_id=job_id)
                stored = await self._rows.events_after(session, job_id=job_id, sequence=after, limit=_PAGE)
        except ServiceUnavailable as error:
            logger.warning("event stream waits", reason=error.detail)
            return Seen((), after, is_waiting=True)
        return self._seen(stored, after=after, status=status)

    def _seen(self, stored: list[JobEventRow], *, after: int, status: JobStatus | None) -> Seen:
        events = list(sendable(stored, after=after, now=self._clock.now(), patience=self._gap_patience))
        told, last = tuple(map(job_event, events)), events[-1].sequence if events else after
        if events and JobStatus(events[-1].payload["status"]).is_terminal:
            return Seen(told, last, is_over=True)
        has_sent_all = len(events) == len(stored) and len(stored) < _PAGE
        is_over = has_sent_all and (status is None or status.is_terminal)
        return Seen(told, last, is_waiting=not has_sent_all, is_over=is_over)

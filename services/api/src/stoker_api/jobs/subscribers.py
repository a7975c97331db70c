"""The deployer's events become the job view."""

from stoker_api.jobs.repository import JobRepository
from stoker_api.jobs.spans import record_life
from stoker_shared.bus import Bus, MessageContext, consume
from stoker_shared.clock import Clock
from stoker_shared.database import Database
from stoker_shared.events import AnyJobEvent
from stoker_shared.trace import spans_are_sent


class JobReadModel:
    """Follows `evt.job.*`. Replays and overtaken events change nothing: the row knows its sequence."""

    def __init__(self, database: Database, *, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._rows = JobRepository()

    def register(self, bus: Bus) -> None:
        """Consume the events; before the bus starts."""
        consume(bus, "api_job_events", AnyJobEvent, self.record)

    async def record(self, event: AnyJobEvent, _context: MessageContext | None = None) -> None:
        """Keep the event, bring the view up to date, wake every replica's streams; in one transaction."""
        async with self._database.transaction() as session:
            is_new = await self._rows.add_event(session, event, now=self._clock.now())
            await self._rows.apply(session, event)
            if is_new:
                await self._rows.notify(session, event.job_id)
            moments = await self._rows.moments(session, event) if is_new and spans_are_sent() else []
        record_life(event, moments)

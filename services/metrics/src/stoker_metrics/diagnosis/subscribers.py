"""Ends of attempts from the bus, and questions about them."""

import asyncio
from collections.abc import Callable
from datetime import timedelta

from stoker_metrics.diagnosis.service import Diagnoser
from stoker_metrics.errors import EvidenceIncomplete
from stoker_metrics.storing.subscribers import CONSUMER as STORING
from stoker_metrics.storing.subscribers import STREAM
from stoker_shared.bus import Bus, MessageContext, answer, consume
from stoker_shared.events import AnyJobEvent, JobCancelled, JobEvent, JobFailed, JobRequeued
from stoker_shared.logging import get_logger
from stoker_shared.rpc.diagnosis import DIAGNOSIS

CONSUMER = "metrics_job_ends"
_LOOK_EVERY_SECONDS = 0.1
# Then a single report that cannot be stored, or is retried for long, is waited for no more.
_MOST_DELIVERIES = 6

logger = get_logger(__name__)


class Ends:
    """Diagnoses an end when all that the broker had of its pod is stored: the two streams overtake each other."""

    def __init__(self, bus: Bus, diagnoser: Diagnoser, *, wake: Callable[[], None], patience: timedelta) -> None:
        self._bus = bus
        self._diagnoser = diagnoser
        self._wake = wake
        self._patience = patience

    def register(self) -> None:
        """Consume the job's events, answer `diagnosis`."""
        consume(self._bus, CONSUMER, AnyJobEvent, self.handle)
        answer(self._bus, DIAGNOSIS, self._diagnoser.answer)

    async def handle(self, event: JobEvent, context: MessageContext) -> None:
        """Return when the end is diagnosed.

        Raises:
            EvidenceIncomplete: reports are still on their way; the message comes again.
        """
        if not isinstance(event, JobRequeued | JobFailed | JobCancelled) or await self._diagnoser.is_diagnosed(event):
            return
        if not await self._all_is_stored():
            if context.delivered < _MOST_DELIVERIES:
                raise EvidenceIncomplete(event.job_id, event.attempt)
            logger.warning("diagnosed without the last reports", job_id=event.job_id, attempt=event.attempt)
        if await self._diagnoser.diagnose(event):
            self._wake()

    async def _all_is_stored(self) -> bool:
        publisher = self._bus.publisher
        last = (await publisher.stream_state(STREAM)).last_sequence
        looks = max(1, round(self._patience.total_seconds() / _LOOK_EVERY_SECONDS))
        for _ in range(looks):
            if await publisher.has_caught_up(STREAM, STORING, sequence=last):
                return True
            await asyncio.sleep(_LOOK_EVERY_SECONDS)
        return False

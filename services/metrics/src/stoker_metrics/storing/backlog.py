"""Whether what pods said is stored soon. Until it is, they seem silent: `attempts/silence.py`."""

import asyncio
from datetime import timedelta

from stoker_metrics.attempts.silence import Hearing
from stoker_metrics.storing.subscribers import CONSUMER, STREAM
from stoker_shared.bus import JetStreamPublisher
from stoker_shared.errors import BrokerUnavailable
from stoker_shared.logging import get_logger

logger = get_logger(__name__)


class BacklogWatch:
    """Asks the broker how far storing has come, whichever process does it, and tells `Hearing` when that is not enough.

    What the broker had at one look must be stored by the next.
    """

    def __init__(self, publisher: JetStreamPublisher, *, hearing: Hearing, every: timedelta) -> None:
        self._publisher = publisher
        self._hearing = hearing
        self._every = every
        self._due: int | None = None
        self._was_behind = False

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(self._every.total_seconds())

    async def look(self) -> None:
        """Compare with the last look."""
        try:
            is_behind = self._due is not None and not await self._publisher.has_caught_up(
                STREAM, CONSUMER, sequence=self._due
            )
            self._due = (await self._publisher.stream_state(STREAM)).last_sequence
        except BrokerUnavailable as error:
            logger.warning("nobody can tell how far storing has come", reason=error.detail)
            self._hearing.failed()
            return
        if is_behind:
            self._hearing.failed()
            logger.warning("storing is behind", sequence=self._due)
        elif self._was_behind:
            logger.info("storing has caught up", sequence=self._due)
        self._was_behind = is_behind

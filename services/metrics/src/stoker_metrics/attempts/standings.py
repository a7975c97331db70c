"""What every replica remembers of the attempts that may report: their tokens, and what their pods are to be told.

PostgreSQL is the truth. Whoever changes it tells the others through the bucket `JOB_STANDINGS`; each replica reads all
of it anew at its start, when the broker is back, and now and then.
"""

import asyncio
import contextlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from pydantic import ValidationError

from stoker_metrics.attempts.repository import AttemptRepository
from stoker_metrics.attempts.schemas import AttemptKey, Standing
from stoker_shared.bus import Bus, JetStreamPublisher
from stoker_shared.clock import Clock
from stoker_shared.database import Database
from stoker_shared.errors import ServiceUnavailable
from stoker_shared.logging import get_logger
from stoker_shared.subjects import bucket_key
from stoker_shared.topology import JOB_STANDINGS

logger = get_logger(__name__)

_RETRY_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class StandingSettings:
    """`list_every`: how often all is read anew. `kept_for`: how long a list is believed if there is no newer one."""

    list_every: timedelta
    kept_for: timedelta


class Memory:
    """Standings by attempt and by token. An older state never replaces a newer one."""

    def __init__(self) -> None:
        self._standings: dict[AttemptKey, Standing] = {}
        self._attempts: dict[str, AttemptKey] = {}
        self._changed: set[AttemptKey] = set()

    def apply(self, standing: Standing) -> None:
        """Learn one state."""
        known = self._standings.get(standing.key)
        if known is not None and known.version >= standing.version:
            return
        self._changed.add(standing.key)
        self._standings[standing.key] = standing
        self._attempts |= dict.fromkeys(standing.tokens, standing.key)

    def begin_list(self) -> None:
        """All will be read: what is learned from here on is newer than the list may be."""
        self._changed.clear()

    def take_list(self, standings: Iterable[Standing]) -> None:
        """Replace everything that was not learned since `begin_list`."""
        learned = [self._standings[key] for key in self._changed]
        self._standings = {standing.key: standing for standing in standings}
        self._attempts = {token: standing.key for standing in self._standings.values() for token in standing.tokens}
        for standing in learned:
            self.apply(standing)

    def of_token(self, token_sha256: str) -> Standing | None:
        """The attempt that a token belongs to."""
        key = self._attempts.get(token_sha256)
        return None if key is None else self._standings[key]


class Standings:
    """The memory of this replica, kept current."""

    def __init__(
        self, database: Database, publisher: JetStreamPublisher, *, clock: Clock, settings: StandingSettings
    ) -> None:
        self._database = database
        self._publisher = publisher
        self._clock = clock
        self._settings = settings
        self._rows = AttemptRepository()
        self._memory = Memory()
        self._listed_at: datetime | None = None
        self._is_current = False
        self._doubts = 0
        self._wake = asyncio.Event()

    def register(self, bus: Bus) -> None:
        """Hear what other replicas change."""
        bus.hear(f"$KV.{JOB_STANDINGS}.>", self._hear)
        bus.on_reconnect(self.doubt)

    async def keep(self) -> None:
        """Read all anew, for ever."""
        while True:
            pause = self._settings.list_every.total_seconds()
            self._wake.clear()
            try:
                await self._list()
            except ServiceUnavailable as error:
                logger.warning("the tokens are not read anew", reason=error.detail)
                pause = min(pause, _RETRY_SECONDS)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._wake.wait()

    async def changed(self, standing: Standing) -> None:
        """A transaction of this replica changed an attempt: count it here, and tell the others.

        Raises:
            BrokerUnavailable: the others may not know yet.
        """
        self._memory.apply(standing)
        await self._publisher.publish(
            bucket_key(JOB_STANDINGS, standing.job_id, str(standing.attempt)),
            standing.model_dump_json().encode(),
            message_id=f"{standing.job_id}:{standing.attempt}:{standing.version}",
        )

    def doubt(self) -> None:
        """It is not known whether a change of this replica is committed: ask the database until all is read anew."""
        self._is_current = False
        self._doubts += 1
        self._wake.set()

    async def of_token(self, token_sha256: str) -> Standing | None:
        """The attempt that a token belongs to. What is remembered needs no database.

        Raises:
            ServiceUnavailable: the database is away, and the token is not known or was not confirmed for long.
        """
        known = self._memory.of_token(token_sha256)
        if known is not None and self._is_current and self._is_believed():
            return known
        try:
            return await self._ask(token_sha256)
        except ServiceUnavailable:
            if known is not None and self._is_believed():
                return known
            raise

    def _is_believed(self) -> bool:
        return self._listed_at is not None and self._clock.now() - self._listed_at < self._settings.kept_for

    async def _ask(self, token_sha256: str) -> Standing | None:
        async with self._database.transaction() as session:
            found = await self._rows.standing_of_token(session, token_sha256=token_sha256)
        if found is not None:
            self._memory.apply(found)
        # Through the memory: a revoke that came meanwhile counts.
        return self._memory.of_token(token_sha256)

    async def _list(self) -> None:
        began, doubts = self._clock.now(), self._doubts
        self._memory.begin_list()
        async with self._database.transaction() as session:
            standings = await self._rows.standings(session, now=began)
        self._memory.take_list(standings)
        self._listed_at = began
        # What was said while the connection was lost is only in a list that began afterwards.
        self._is_current = doubts == self._doubts

    async def _hear(self, payload: bytes) -> None:
        try:
            self._memory.apply(Standing.model_validate_json(payload))
        except ValidationError as error:
            # Of another release; the next list has it.
            logger.warning("a standing that cannot be read", faults=error.error_count())
            self.doubt()

"""Listens on PostgreSQL for job events, which another replica may have consumed."""

import asyncio
from datetime import timedelta

import asyncpg
from pydantic import SecretStr

from stoker_api.following.hub import LiveHub
from stoker_api.jobs.repository import JOB_EVENTS_CHANNEL
from stoker_shared.logging import get_logger

logger = get_logger(__name__)

_CONNECT_TIMEOUT = 5.0
_PROBE_EVERY = timedelta(seconds=10)
_RECONNECT_AFTER = timedelta(seconds=1)


class JobNotifications:
    """One connection of its own, outside the pool: a pooled one would lose its LISTEN."""

    def __init__(self, database_url: SecretStr, hub: LiveHub) -> None:
        # asyncpg knows no "postgresql+asyncpg".
        self._url = SecretStr(database_url.get_secret_value().replace("+asyncpg", "", 1))
        self._hub = hub

    async def run(self) -> None:
        """Listen until cancelled; while the connection is away, streams look for themselves at every heartbeat."""
        while True:
            try:
                await self._listen()
            except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                logger.warning("not listening for job events", reason=type(error).__name__)
            await asyncio.sleep(_RECONNECT_AFTER.total_seconds())

    async def _listen(self) -> None:
        connection = await asyncpg.connect(self._url.get_secret_value(), timeout=_CONNECT_TIMEOUT)
        lost = asyncio.Event()
        try:
            connection.add_termination_listener(lambda _connection: lost.set())
            await connection.add_listener(JOB_EVENTS_CHANNEL, self._heard)
            self._hub.wake_all()  # what was told while nobody listened
            while not lost.is_set():
                await self._wait_or_probe(connection, lost)
        finally:
            connection.terminate()

    async def _wait_or_probe(self, connection: "asyncpg.Connection[asyncpg.Record]", lost: asyncio.Event) -> None:
        try:
            async with asyncio.timeout(_PROBE_EVERY.total_seconds()):
                await lost.wait()
        except TimeoutError:
            # A peer that vanished without a word is noticed only by asking.
            await connection.execute("SELECT 1", timeout=_CONNECT_TIMEOUT)

    def _heard(self, _connection: object, _pid: int, _channel: str, job_id: object) -> None:
        self._hub.wake(str(job_id))

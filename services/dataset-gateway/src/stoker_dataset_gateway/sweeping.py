"""Forgetting what has run out, every minute or so."""

import asyncio
from datetime import timedelta

from stoker_dataset_gateway.artifacts.retention import Retention
from stoker_dataset_gateway.datasets.repository import DatasetRepository
from stoker_dataset_gateway.objects.service import ObjectWriter
from stoker_dataset_gateway.tokens.repository import TokenRepository
from stoker_dataset_gateway.uploads.repository import UploadRepository
from stoker_shared.clock import Clock
from stoker_shared.database import Database
from stoker_shared.errors import StokerError
from stoker_shared.logging import get_logger

logger = get_logger(__name__)

# Far longer than any mint can be under way.
_KEEP_REVOKED_ATTEMPTS = timedelta(days=31)


class Sweeper:
    """Deletes expired rows `keep_expired` after their end, and objects that nothing wants."""

    def __init__(
        self,
        database: Database,
        writer: ObjectWriter,
        retention: Retention,
        *,
        clock: Clock,
        every: timedelta,
        keep_expired: timedelta,
    ) -> None:
        self._database = database
        self._writer = writer
        self._retention = retention
        self._clock = clock
        self._every = every
        self._keep_expired = keep_expired
        self._tokens = TokenRepository()
        self._uploads = UploadRepository()
        self._versions = DatasetRepository()

    async def run(self) -> None:
        """Sweep until cancelled."""
        while True:
            try:
                await self.sweep()
            except StokerError as error:
                logger.warning("sweep put off", reason=error.detail)
            await asyncio.sleep(self._every.total_seconds())

    async def sweep(self) -> None:
        """Sweep once."""
        now = self._clock.now()
        expired_before = now - self._keep_expired
        async with self._database.transaction() as session:
            await self._tokens.sweep(
                session, expired_before=expired_before, revoked_before=now - _KEEP_REVOKED_ATTEMPTS
            )
            await self._uploads.sweep(session, expired_before=expired_before)
            await self._versions.sweep_unfinished(session, created_before=expired_before)
        await self._retention.sweep()
        await self._writer.sweep()

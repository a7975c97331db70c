"""Forgetting what has run out, every minute or so."""

import asyncio
from datetime import timedelta

from stoker_dataset_gateway.artifacts.retention import Retention
from stoker_dataset_gateway.datasets.repository import DatasetRepository
from stoker_dataset_gateway.foundation import Foundation
from stoker_dataset_gateway.tokens.repository import TokenRepository
from stoker_dataset_gateway.uploads.repository import UploadRepository
from stoker_dataset_gateway.uploads.verdicts import Verdicts
from stoker_shared.errors import StokerError
from stoker_shared.logging import get_logger

logger = get_logger(__name__)

# Far longer than any mint can be under way.
_KEEP_ATTEMPTS = timedelta(days=31)


class Sweeper:
    """Deletes the bytes of uploads that have run out, rows `keep_expired` after their end, objects nothing wants."""

    def __init__(
        self,
        ground: Foundation,
        verdicts: Verdicts,
        retention: Retention,
        *,
        every: timedelta,
        keep_expired: timedelta,
    ) -> None:
        self._database = ground.database
        self._writer = ground.writer
        self._clock = ground.clock
        self._verdicts = verdicts
        self._retention = retention
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
        await self._verdicts.expire()
        now = self._clock.now()
        expired_before = now - self._keep_expired
        async with self._database.transaction() as session:
            await self._tokens.sweep(session, expired_before=expired_before, admitted_before=now - _KEEP_ATTEMPTS)
            await self._uploads.sweep(session, expired_before=expired_before)
            await self._versions.sweep_unfinished(session, created_before=expired_before)
        await self._retention.sweep()
        await self._writer.sweep()

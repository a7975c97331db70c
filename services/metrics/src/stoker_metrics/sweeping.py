"""Packing lines and dropping what is past its time, every minute or so."""

import asyncio
from datetime import timedelta

from stoker_metrics.packing.service import Packer
from stoker_metrics.retention.service import Retention
from stoker_shared.errors import StokerError
from stoker_shared.logging import get_logger

logger = get_logger(__name__)


class Sweeper:
    """Runs beside the service. Several replicas may: each step is guarded in the database."""

    def __init__(self, packer: Packer, retention: Retention, *, every: timedelta) -> None:
        self._packer = packer
        self._retention = retention
        self._every = every

    async def run(self) -> None:
        """Sweep until cancelled."""
        while True:
            await asyncio.sleep(self._every.total_seconds())
            try:
                await self._retention.sweep()
                await self._packer.sweep()
            except StokerError as error:
                logger.warning("sweep put off", reason=error.detail)

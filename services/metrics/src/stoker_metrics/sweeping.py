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
            await self.sweep()

    async def sweep(self) -> None:
        """Take each step once. One that fails keeps neither the other nor the service, which must take reports."""
        for name, step in (("retention", self._retention.sweep), ("packing", self._packer.sweep)):
            try:
                await step()
            except StokerError as error:
                logger.warning("sweep put off", step=name, reason=error.detail)
            except Exception:
                logger.exception("sweep failed; the next one tries again", step=name)

"""The orphan sweep: machines that bear one of our names but should not exist."""

import asyncio
import re
from collections.abc import Mapping
from datetime import timedelta

from stoker_deployer.jobs.repository import JobRepository
from stoker_deployer.jobs.tables import Attempt
from stoker_deployer.providers import Gone, Machine, Provider
from stoker_shared.clock import Clock
from stoker_shared.database import Database
from stoker_shared.errors import ProviderError, TransientError
from stoker_shared.logging import get_logger

logger = get_logger(__name__)

OUR_NAME = re.compile(r"^job-[0-9a-f]{16}-[1-9][0-9]*$")
# Longer than a launch command can wait in the broker.
_KEEP_CANCELLATIONS = timedelta(days=30)


class OrphanSweep:
    """Compares each provider's own list with our rows."""

    def __init__(
        self, database: Database, jobs: JobRepository, *, providers: Mapping[str, Provider], clock: Clock
    ) -> None:
        self._database = database
        self._jobs = jobs
        self._providers = providers
        self._clock = clock

    async def run(self, *, every: timedelta) -> None:
        """Sweep until cancelled."""
        while True:
            await asyncio.sleep(every.total_seconds())
            for provider in self._providers.values():
                try:
                    await self.sweep(provider)
                except (ProviderError, TransientError) as error:
                    logger.warning("orphans not swept", provider=provider.name, reason=error.detail)
            await self._forget()

    async def sweep(self, provider: Provider) -> list[str]:
        """Terminate what belongs to an attempt that is over or that has another machine. Returns their handles.

        A machine of an attempt we do not know is only reported: it may belong to another installation.

        Raises:
            ProviderError: the provider cannot be asked.
            ServiceUnavailable: PostgreSQL is away.
        """
        listed = [machine for machine in await provider.list_machines() if _is_ours(machine)]
        # Rows are read after the list: an intent is committed before its machine can appear there.
        async with self._database.transaction() as session:
            attempts = await self._jobs.attempts_by_machine(session, [machine.name for machine in listed])
        orphans = [machine for machine in listed if _is_orphan(machine, attempts.get(machine.name))]
        return [machine.handle for machine in orphans if await _terminated(provider, machine)]

    async def _forget(self) -> None:
        try:
            async with self._database.transaction() as session:
                await self._jobs.forget_cancellations(session, before=self._clock.now() - _KEEP_CANCELLATIONS)
        except TransientError as error:
            logger.warning("old cancellations kept", reason=error.detail)


async def _terminated(provider: Provider, machine: Machine) -> bool:
    # One that refuses must not keep the others: it is asked again by the next sweep.
    about = {"provider": provider.name, "machine": machine.name, "handle": machine.handle}
    try:
        await provider.terminate(machine.handle)
    except ProviderError as error:
        logger.warning("orphan machine not terminated", **about, reason=error.detail)
        return False
    logger.error("orphan machine terminated", **about)
    return True


def _is_ours(machine: Machine) -> bool:
    return bool(OUR_NAME.match(machine.name)) and not isinstance(machine.state, Gone)


def _is_orphan(machine: Machine, attempt: Attempt | None) -> bool:
    if attempt is None:
        logger.warning("machine of an unknown attempt", machine=machine.name, handle=machine.handle)
        return False
    return attempt.ended_at is not None or (attempt.handle is not None and attempt.handle != machine.handle)

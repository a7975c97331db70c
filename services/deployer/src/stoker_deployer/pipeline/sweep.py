"""The orphan sweep: machines that bear one of our names but should not exist."""

import asyncio
import re
from collections.abc import Mapping
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncSession

from stoker_deployer.jobs.announcing import Aftermath, tell
from stoker_deployer.jobs.errors import ClaimLost
from stoker_deployer.jobs.repository import JobRepository
from stoker_deployer.jobs.tables import Attempt
from stoker_deployer.ledger.repository import LedgerRepository
from stoker_deployer.providers import Alive, AliveKind, Exited, Gone, Machine, MachineState, Provider, Unknown
from stoker_deployer.providers.accounts import Account, Accounts
from stoker_deployer.strays.repository import Stray, StrayRepository
from stoker_deployer.vault.service import Vault
from stoker_shared.clock import Clock
from stoker_shared.database import Database
from stoker_shared.errors import ProviderError, TransientError
from stoker_shared.events import OrphanCostBooked
from stoker_shared.logging import get_logger
from stoker_shared.money import MicroUsd, cost_of
from stoker_shared.outbox import enqueue

logger = get_logger(__name__)

_ACCOUNTS_AT_ONCE = 8
OUR_NAME = re.compile(r"^job-[0-9a-f]{16}-[1-9][0-9]*$")
# Longer than a launch command can wait in the broker.
_KEEP_CANCELLATIONS = timedelta(days=30)


class OrphanSweep:
    """Compares each provider's own list with our rows. One look is no proof: lists may be stale."""

    def __init__(
        self,
        database: Database,
        jobs: JobRepository,
        *,
        accounts: Accounts,
        vault: Vault,
        clock: Clock,
        pause: timedelta = timedelta(seconds=5),
    ) -> None:
        self._database = database
        self._jobs = jobs
        self._accounts = accounts
        self._vault = vault
        self._clock = clock
        self._pause = pause
        self._strays = StrayRepository()
        self._ledger = LedgerRepository()

    async def run(self, *, every: timedelta) -> None:
        """Sweep until cancelled."""
        while True:
            await asyncio.sleep(every.total_seconds())
            await self._sweep_all()
            await self._forget()

    async def _sweep_all(self) -> None:
        try:
            accounts = await self._accounts.all()
        except TransientError as error:
            logger.warning("orphans not swept", reason=error.detail)
            return
        at_once = asyncio.Semaphore(_ACCOUNTS_AT_ONCE)
        await asyncio.gather(*(self._try_to_sweep(account, at_once) for account in accounts))

    async def _try_to_sweep(self, account: Account, at_once: asyncio.Semaphore) -> None:
        # One account that hangs or refuses must not keep the others.
        async with at_once:
            try:
                await self.sweep(account)
            except (ProviderError, TransientError) as error:
                about = {"provider": account.provider.name, "owner": account.owner}
                logger.warning("orphans not swept", **about, reason=error.detail)

    async def sweep(self, account: Account) -> list[str]:
        """Terminate what belongs to an attempt that is over or has another machine, seen twice. Returns the handles.

        What a machine has cost after the end of its attempt is booked to its job. A machine of an attempt we do not
        know is only noted and told by RPC `health`: it may belong to another installation. One of an attempt that was
        launched at another account is left to that one, even where both are the same at the provider.

        Raises:
            ProviderError: the provider cannot be asked.
            ServiceUnavailable: PostgreSQL is away.
        """
        provider = account.provider
        listed = [machine for machine in await provider.list_machines() if _is_ours(machine)]
        now = self._clock.now()
        # Rows are read after the list: an intent is committed before its machine can appear there.
        async with self._database.transaction() as session:
            attempts = await self._jobs.attempts_by_machine(session, [machine.name for machine in listed])
            found = [(machine, machine.name in attempts) for machine in listed if _is_stray(machine, attempts, account)]
            await self._strays.see(session, account, found, now=now)
            strays = await self._strays.listed(session, account)
        here = {machine.handle for machine, _ in found}
        ended = []
        for stray in strays:
            if stray.handle not in here:
                await self._look_for_missing(provider, stray)
            elif not stray.is_known:
                logger.warning("machine of an unknown attempt", provider=provider.name, machine=stray.name)
            elif now - stray.first_seen_at >= self._pause and await self._end(provider, stray, attempts[stray.name]):
                ended.append(stray.handle)
        return ended

    async def _end(self, provider: Provider, stray: Stray, attempt: Attempt) -> bool:
        state = await provider.describe(stray.handle)
        if isinstance(state, Gone):
            return False  # the list is stale
        is_ended = await _terminated(provider, stray)
        if is_ended and not isinstance(state, Unknown) and not _costs_nothing_yet(state):
            await self._book(stray, attempt, state)
        return is_ended

    async def _look_for_missing(self, provider: Provider, stray: Stray) -> None:
        state = await provider.describe(stray.handle)
        if not isinstance(state, Gone):
            return
        async with self._database.transaction() as session:
            attempt = (await self._jobs.attempts_by_machine(session, [stray.name])).get(stray.name)
        if attempt is not None and stray.costs_since is not None:
            await self._book(stray, attempt, state)
        async with self._database.transaction() as session:
            await self._strays.forget(session, stray)

    async def _book(self, stray: Stray, attempt: Attempt, state: MachineState) -> None:
        # While the attempt goes on its ledger is its reconciler's.
        if attempt.ended_at is None:
            return
        try:
            async with self._database.transaction() as session:
                await self._book_late(session, stray, attempt, state)
        except ClaimLost:
            # Rolled back: the job is being worked on. The cost is not lost, the next sweep books it.
            async with self._database.transaction() as session:
                if locked := await self._strays.lock(session, stray):
                    since = locked.costs_since or _costs_since(locked, attempt, state)
                    await self._strays.book(session, locked, costs_since=since, booked=locked.booked_micro_usd)

    async def _book_late(self, session: AsyncSession, stray: Stray, attempt: Attempt, state: MachineState) -> None:
        locked = await self._strays.lock(session, stray)
        if locked is None:
            return
        now, since = self._clock.now(), locked.costs_since or _costs_since(locked, attempt, state)
        # A machine that is gone without a word of when: it was last seen then.
        until = _ended_at(state) or (locked.last_seen_at if isinstance(state, Gone) else now)
        cost = cost_of(max(until - since, timedelta(0)), MicroUsd(attempt.price_micro_usd_per_hour))
        owed = max(cost - locked.booked_micro_usd, 0)
        await self._strays.book(session, locked, costs_since=since, booked=locked.booked_micro_usd + owed)
        if not owed:
            return
        job, present = await self._jobs.count_event(session, attempt.job_id)
        book = await self._jobs.open_book(session, job)
        book.add_late(attempt.number, amount=owed, at=now)
        if attempt.handle != stray.handle:
            await self._jobs.add_orphan_cost(session, attempt, amount=owed)
        await self._ledger.save(session, book)
        booked = tell(
            OrphanCostBooked,
            Aftermath(job, present, book, now),
            machine=stray.handle,
            of_attempt=attempt.number,
            cost_micro_usd=owed,
            reason=job.reason,
            detail=job.end_detail,
        )
        await enqueue(session, booked)

    async def _forget(self) -> None:
        try:
            await self._vault.wipe_needless()
            async with self._database.transaction() as session:
                await self._jobs.forget_cancellations(session, before=self._clock.now() - _KEEP_CANCELLATIONS)
        except TransientError as error:
            logger.warning("old cancellations and keys kept", reason=error.detail)


async def _terminated(provider: Provider, stray: Stray) -> bool:
    # One that refuses must not keep the others: it is asked again by the next sweep.
    about = {"provider": provider.name, "machine": stray.name, "handle": stray.handle}
    try:
        await provider.terminate(stray.handle)
    except ProviderError as error:
        logger.warning("orphan machine not terminated", **about, reason=error.detail)
        return False
    logger.error("orphan machine terminated", **about)
    return True


def _is_ours(machine: Machine) -> bool:
    return bool(OUR_NAME.match(machine.name)) and not isinstance(machine.state, Gone)


def _is_stray(machine: Machine, attempts: Mapping[str, Attempt], account: Account) -> bool:
    attempt = attempts.get(machine.name)
    if attempt is None:
        return True
    if not account.has_launched(owner=attempt.owner, key_version=attempt.key_version):
        return False
    if attempt.ended_at is not None:
        return True
    return attempt.handle is not None and attempt.handle != machine.handle


def _costs_nothing_yet(state: MachineState) -> bool:
    return isinstance(state, Alive) and state.started_at is None and state.kind != AliveKind.RUNNING


def _costs_since(stray: Stray, attempt: Attempt, state: MachineState) -> datetime:
    started = getattr(state, "started_at", None) or stray.first_seen_at
    # What the attempt has paid for this very machine is not paid twice.
    is_its_own = attempt.handle in (None, stray.handle)
    return max(started, attempt.billing_ended_at or started) if is_its_own else started


def _ended_at(state: MachineState) -> datetime | None:
    return state.ended_at if isinstance(state, Exited | Gone) else None

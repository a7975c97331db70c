"""Settlement: what the provider bills for attempts that are over takes the place of what was counted."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from stoker_deployer.bills.repository import BillRepository, Unbilled
from stoker_deployer.jobs.announcing import Aftermath, tell
from stoker_deployer.jobs.errors import ClaimLost
from stoker_deployer.jobs.repository import JobRepository
from stoker_deployer.ledger.repository import LedgerRepository
from stoker_deployer.providers import Bills
from stoker_deployer.providers.accounts import Accounts
from stoker_deployer.providers.errors import NotBilled
from stoker_shared.clock import Clock
from stoker_shared.database import Database
from stoker_shared.errors import ProviderError, TransientError
from stoker_shared.events import CostSettled
from stoker_shared.logging import get_logger
from stoker_shared.money import MicroUsd
from stoker_shared.outbox import enqueue

logger = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class SettlingPace:
    """How often a bill is asked for, and for how long before the estimate stands."""

    ask_every: timedelta
    settle_for: timedelta


class Settlement:
    """Asks until a bill is known. A provider that is away or answers nonsense changes nothing: it is asked again."""

    def __init__(  # noqa: PLR0913 - wiring
        self,
        database: Database,
        jobs: JobRepository,
        ledger: LedgerRepository,
        *,
        accounts: Accounts,
        clock: Clock,
        pace: SettlingPace,
        after_commit: Callable[[], None],
    ) -> None:
        self._database = database
        self._jobs = jobs
        self._ledger = ledger
        self._bills = BillRepository()
        self._accounts = accounts
        self._clock = clock
        self._pace = pace
        self._after_commit = after_commit

    async def run(self) -> None:
        """Settle until cancelled."""
        while True:
            await asyncio.sleep(self._pace.ask_every.total_seconds())
            try:
                await self.settle_due()
            except TransientError as error:
                logger.warning("bills not settled", reason=error.detail)

    async def settle_due(self) -> None:
        """Ask for every bill that is due.

        Raises:
            ServiceUnavailable: PostgreSQL is away.
        """
        async with self._database.transaction() as session:
            due = await self._bills.take_due(session, now=self._clock.now(), pause=self._pace.ask_every)
        for attempt in due:
            await self._settle(attempt)

    async def _settle(self, due: Unbilled) -> None:
        try:
            provider = await self._accounts.of_attempt(due)
            billed = await provider.billed(due.handle) if isinstance(provider, Bills) else None
        except NotBilled:
            await self._let_stand(due)
            return
        except ProviderError as error:
            logger.warning("bill not known", job_id=due.job_id, attempt=due.number, reason=error.detail)
            billed = None
        if billed is not None:
            await self._book(due, billed=billed)
        elif self._clock.now() - due.ended_at >= self._pace.settle_for:
            logger.warning("no bill came, the estimate stands", job_id=due.job_id, attempt=due.number)
            await self._let_stand(due)

    async def _let_stand(self, due: Unbilled) -> None:
        async with self._database.transaction() as session:
            await self._bills.give_up(session, due)

    async def _book(self, due: Unbilled, *, billed: MicroUsd) -> None:
        try:
            async with self._database.transaction() as session:
                job, present = await self._jobs.count_event(session, due.job_id)
                orphans = await self._bills.book(session, due, billed=billed)
                book = await self._jobs.open_book(session, job)
                estimated, now = book.spent_by(due.number), self._clock.now()
                book.settle_to_bill(due.number, billed=billed, besides=orphans, at=now)
                await self._ledger.save(session, book)
                settled = tell(
                    CostSettled,
                    Aftermath(job, present, book, now),
                    settled_attempt=due.number,
                    estimated_micro_usd=estimated,
                    billed_micro_usd=billed,
                    reason=job.reason,
                    detail=job.end_detail,
                )
                await enqueue(session, settled)
        except ClaimLost:
            # Rolled back: the job is being worked on, or another replica was faster. Asked again if it is still open.
            return
        logger.info("cost settled", job_id=due.job_id, attempt=due.number, estimated=estimated, billed=billed)
        self._after_commit()

"""The sender: claims due deliveries, sends them outside of any transaction, and writes what came of it.

A delivery is claimed with a lease longer than an attempt may take. Whoever dies in between leaves it claimed until
then; another sender sends it again under the same id. So each goes out at least once.
"""

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import NAMESPACE_URL, uuid5

from sqlalchemy.ext.asyncio import AsyncSession

from stoker_metrics.notifications.courier import Courier
from stoker_metrics.notifications.deliveries.repository import DeliveryRepository
from stoker_metrics.notifications.deliveries.schemas import Claimed, NewDelivery, Outcome, Record, Verdict
from stoker_metrics.notifications.payloads import TARGET_PAUSED, TEST, payload
from stoker_metrics.notifications.retrying import GONE, RetryRules, must_pause, next_attempt
from stoker_metrics.notifications.targets.repository import TargetRepository
from stoker_shared.clock import Clock
from stoker_shared.database import Database
from stoker_shared.errors import TransientError
from stoker_shared.logging import get_logger

logger = get_logger(__name__)

_BUSY = frozenset({429, 502, 503, 504})
"""The receiver is under load: all that goes to it waits, not this delivery alone."""


@dataclass(frozen=True, slots=True)
class SenderRules:
    """`lease` must be longer than any attempt takes. `order_patience`: how long a job's later news wait for earlier."""

    retry: RetryRules
    lease: timedelta = timedelta(seconds=60)
    at_once: int = 32
    poll: timedelta = timedelta(seconds=1)
    order_patience: timedelta = timedelta(minutes=10)


class Sender:
    """Runs in every replica; they share what is due."""

    def __init__(
        self,
        database: Database,
        courier: Courier,
        *,
        clock: Clock,
        rules: SenderRules,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._database = database
        self._courier = courier
        self._clock = clock
        self._rules = rules
        self._chance = chance
        self._rows = DeliveryRepository()
        self._targets = TargetRepository()
        self._awake = asyncio.Event()
        self._under_way: set[asyncio.Task[None]] = set()

    def wake(self) -> None:
        """There is something to send."""
        self._awake.set()

    async def run(self) -> None:
        """Send until cancelled; what is under way then is given up and sent again by whoever comes next."""
        try:
            while True:
                self._awake.clear()
                if await self._round() == 0:
                    await self._sleep()
        finally:
            for task in self._under_way:
                task.cancel()
            await asyncio.gather(*self._under_way, return_exceptions=True)

    async def send_one(self, delivery_id: str) -> None:
        """Send this one now, if nobody else does."""
        now = self._clock.now()
        async with self._database.transaction() as session:
            claimed = await self._rows.claim_one(session, delivery_id, now=now, until=now + self._rules.lease)
        if claimed is not None:
            await self._attempt(claimed)

    @property
    def lease(self) -> timedelta:
        """How long a claim lasts."""
        return self._rules.lease

    async def _round(self) -> int:
        try:
            claimed = await self._claim()
        except TransientError as error:
            logger.warning("sender of notifications waits", reason=error.detail)
            return 0
        except Exception:
            # Nobody awaits this loop: if it ended, nothing would ever be sent again and nobody would know.
            logger.exception("claiming notifications failed; the sender goes on")
            return 0
        for delivery in claimed:
            task = asyncio.create_task(self._guarded(delivery), name=f"notification {delivery.delivery_id}")
            self._under_way.add(task)
            task.add_done_callback(self._done)
        return len(claimed)

    async def _claim(self) -> list[Claimed]:
        room = self._rules.at_once - len(self._under_way)
        if room <= 0:
            return []
        now = self._clock.now()
        async with self._database.transaction() as session:
            return await self._rows.claim(
                session,
                now=now,
                until=now + self._rules.lease,
                order_since=now - self._rules.order_patience,
                limit=room,
            )

    async def _sleep(self) -> None:
        try:
            async with asyncio.timeout(self._rules.poll.total_seconds()):
                await self._awake.wait()
        except TimeoutError:
            return

    def _done(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        # The next one for this target may go.
        self.wake()

    async def _guarded(self, claimed: Claimed) -> None:
        try:
            await self._attempt(claimed)
        except TransientError as error:
            logger.warning("notification not sent or not recorded", id=claimed.delivery_id, reason=error.detail)
        except Exception:
            logger.exception("notification failed inside; it is tried again", id=claimed.delivery_id)

    async def _attempt(self, claimed: Claimed) -> None:
        at = self._clock.now()
        loop = asyncio.get_running_loop()
        began = loop.time()
        outcome = await self._sent(claimed, at=at)
        took = timedelta(seconds=loop.time() - began)
        await self._record(claimed, self._judged(claimed, outcome, at=at, took=took))
        logger.info(
            "notification sent" if outcome.is_delivered else "notification not taken",
            id=claimed.delivery_id,
            target_id=claimed.target_id,
            status=outcome.status,
            reason=outcome.error,
        )

    async def _sent(self, claimed: Claimed, *, at: datetime) -> Outcome:
        try:
            return await self._courier.send(claimed, at=at)
        except TransientError:
            raise  # nothing was tried: it waits for its lease and does not count
        except Exception:
            # Counted like any other failure, so that one message cannot be tried for ever.
            logger.exception("notification failed inside", id=claimed.delivery_id)
            return Outcome(is_delivered=False, error="Stoker failed inside; its log tells more")

    def _judged(self, claimed: Claimed, outcome: Outcome, *, at: datetime, took: timedelta) -> Record:
        if outcome.is_delivered:
            return Record("delivered", outcome, at, took)
        now = self._clock.now()
        again = next_attempt(
            self._rules.retry,
            failed=claimed.failed_attempts + 1,
            now=now,
            spread=self._chance(),
            status=outcome.status,
            retry_after=outcome.retry_after,
        )
        verdict: Verdict = "again"
        if outcome.status == GONE:
            verdict = "gone"
        elif again is None or claimed.type == TEST:
            verdict = "failed"
        quiet_until = again if outcome.status in _BUSY and outcome.retry_after else None
        return Record(verdict, outcome, at, took, again if verdict == "again" else None, quiet_until)

    async def _record(self, claimed: Claimed, record: Record) -> None:
        async with self._database.transaction() as session:
            if not await self._rows.record(session, claimed, record):
                logger.warning("notification sent under a lost claim; it may come twice", id=claimed.delivery_id)
                return
            if record.verdict == "delivered":
                await self._targets.delivered(session, target_id=claimed.target_id, at=record.at)
            else:
                await self._note_failure(session, claimed, record)

    async def _note_failure(self, session: AsyncSession, claimed: Claimed, record: Record) -> None:
        now = self._clock.now()
        target = await self._targets.failed(
            session, target_id=claimed.target_id, at=now, quiet_until=record.quiet_until
        )
        if target is None or target.state != "active":
            return
        if record.verdict == "gone":
            detail = "it answered 410 (gone)"
            if await self._targets.end(session, target_id=claimed.target_id, state="gone", detail=detail):
                await self._rows.drop_waiting(session, target_id=claimed.target_id, now=now)
                await self._tell_owner(session, claimed, target.name, detail=detail, now=now)
        elif must_pause(self._rules.retry, failures=target.failures, failing_since=target.failing_since, now=now):
            detail = f"{target.failures} attempts failed in a row; the last one: {record.outcome.error}"
            if await self._targets.end(session, target_id=claimed.target_id, state="paused", detail=detail):
                await self._tell_owner(session, claimed, target.name, detail=detail, now=now)

    async def _tell_owner(
        self, session: AsyncSession, claimed: Claimed, name: str, *, detail: str, now: datetime
    ) -> None:
        """By all other ways that the owner has set up."""
        logger.warning("notification target stopped", target_id=claimed.target_id, owner=claimed.owner, reason=detail)
        data = {"target_id": claimed.target_id, "name": name, "message": f"{name}: {detail}"}
        for target_id in await self._targets.others(session, owner=claimed.owner, target_id=claimed.target_id):
            told = NewDelivery(
                owner=claimed.owner,
                target_id=target_id,
                rule_id=None,
                event_id=uuid5(NAMESPACE_URL, f"{claimed.target_id} {claimed.delivery_id} {now.isoformat()}"),
                type=TARGET_PAUSED,
                job_id=None,
                occurred_at=now,
                payload=payload(TARGET_PAUSED, at=now, data=data),
            )
            await self._rows.add(session, told, now=now)

"""Storing a batch of messages in one transaction, with the events that it gives rise to."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import uuid4

from sqlalchemy.ext.asyncio import AsyncSession

from stoker_metrics.alerts.keeping import AlertKeeper
from stoker_metrics.errors import AttemptUnknown
from stoker_metrics.keeping.repository import KeptRepository
from stoker_metrics.keeping.schemas import Caps
from stoker_metrics.lines.keeping import LineKeeper
from stoker_metrics.points.keeping import PointKeeper
from stoker_metrics.storing.loss import LossRules
from stoker_metrics.storing.progress import Fact, PhaseEntered, Progress, advance
from stoker_metrics.storing.repository import StoringRepository
from stoker_metrics.storing.schemas import AttemptKey, Received
from stoker_metrics.storing.spans import record_progress
from stoker_shared.clock import Clock
from stoker_shared.database import Database
from stoker_shared.events import AlertRaised, LossTroubled, PodEvent, PodExited, PodPhaseChanged
from stoker_shared.outbox import enqueue
from stoker_shared.rpc.metrics import Alert, Exit, Heartbeat, Line, LogBatch, LossTrouble, MetricsBatch, Point


class Store:
    """Stores what pods reported. The same message again changes nothing."""

    def __init__(
        self, database: Database, *, clock: Clock, rules: LossRules | None = None, caps: Caps | None = None
    ) -> None:
        self._database = database
        self._loss_rules = rules or LossRules()
        self._clock = clock
        self._rows = StoringRepository()
        self._kept = KeptRepository()
        self._points = PointKeeper()
        self._lines = LineKeeper()
        self._alerts = AlertKeeper()
        self._caps = caps or Caps()

    async def store(self, batch: Sequence[Received]) -> int:
        """Store all of it or nothing. Returns how many events wait in the outbox because of it.

        Raises:
            AttemptUnknown: a message is of an attempt that was never admitted here.
            ServiceUnavailable: the database is away.
        """
        async with self._database.transaction() as session:
            known = await self._rows.lock(session, {received.key for received in batch})
            for received in batch:
                if received.key not in known:
                    raise AttemptUnknown(*received.key)
            raised = await self._store_items(session, batch)
            moved, told = await self._move(session, batch, known)
            told += await self._tell_alerts(session, raised)
        for key in known:
            record_progress(key, before=known[key], after=moved[key])
        return told

    async def _store_items(self, session: AsyncSession, batch: Sequence[Received]) -> list[Alert]:
        messages = [received.message for received in batch]
        points: dict[AttemptKey, list[Point]] = {}
        lines: dict[AttemptKey, list[Line]] = {}
        for message in messages:
            if isinstance(message, MetricsBatch):
                points.setdefault((message.job_id, message.attempt), []).extend(message.points)
            if isinstance(message, LogBatch):
                lines.setdefault((message.job_id, message.attempt), []).extend(message.lines)
        if points or lines:
            await self._keep(session, points, lines)
        alerts = [message for message in messages if isinstance(message, Alert)]
        return await self._alerts.keep(session, alerts, most=self._caps.alerts)

    async def _tell_alerts(self, session: AsyncSession, raised: Sequence[Alert]) -> int:
        for alert in raised:
            envelope = await self._envelope(session, (alert.job_id, alert.attempt))
            told = AlertRaised(**envelope, level=alert.level, code=alert.code, message=alert.message)
            await enqueue(session, told)
        return len(raised)

    async def _keep(
        self,
        session: AsyncSession,
        points: Mapping[AttemptKey, Sequence[Point]],
        lines: Mapping[AttemptKey, Sequence[Line]],
    ) -> None:
        before = await self._kept.read(session, points.keys() | lines.keys(), caps=self._caps)
        for key in sorted(points.keys() | lines.keys()):
            if key not in before:
                raise AttemptUnknown(*key)
        await self._kept.ensure_partitions(session, {kept.day for kept in before.values()})
        after = before | await self._points.keep(session, points, before)
        after |= await self._lines.keep(session, lines, after)
        await self._kept.write(session, {key: kept for key, kept in after.items() if kept != before[key]})

    async def _move(
        self, session: AsyncSession, batch: Sequence[Received], known: Mapping[AttemptKey, Progress]
    ) -> tuple[Mapping[AttemptKey, Progress], int]:
        moved = dict(known)
        facts: list[tuple[AttemptKey, Fact]] = []
        for received in sorted(_joined(batch), key=_order):
            moved[received.key], new = advance(moved[received.key], received, self._loss_rules)
            facts += [(received.key, fact) for fact in new]
        await self._rows.move(session, {key: progress for key, progress in moved.items() if progress != known[key]})
        # In order of the job, as all locks here.
        for key, fact in sorted(facts, key=lambda item: item[0]):
            await enqueue(session, await self._event(session, key, fact))
        return moved, len(facts)

    async def _event(self, session: AsyncSession, key: AttemptKey, fact: Fact) -> PodEvent:
        envelope = await self._envelope(session, key)
        if isinstance(fact, PhaseEntered):
            return PodPhaseChanged(**envelope, phase=fact.phase)
        if isinstance(fact, LossTrouble):
            return LossTroubled(**envelope, kind=fact.kind, step=fact.step, detail=fact.detail)
        return PodExited(**envelope, exit_code=fact.facts.exit_code, reason=fact.facts.reason)

    async def _envelope(self, session: AsyncSession, key: AttemptKey) -> dict[str, Any]:
        job_id, attempt = key
        return {
            "event_id": uuid4(),
            "occurred_at": self._clock.now(),
            "sequence": await self._rows.next_sequence(session, job_id=job_id),
            "job_id": job_id,
            "attempt": attempt,
        }


def _joined(batch: Sequence[Received]) -> list[Received]:
    """The same with one message for all points of an attempt: what is known of it is reckoned anew for each message."""
    points: dict[AttemptKey, list[Point]] = {}
    heard: dict[AttemptKey, datetime] = {}
    others = []
    for received in batch:
        if isinstance(received.message, MetricsBatch):
            key = received.key
            points.setdefault(key, []).extend(received.message.points)
            heard[key] = max(heard.get(key, received.received_at), received.received_at)
        else:
            others.append(received)
    # Constructed, not checked again.
    return others + [
        Received(MetricsBatch.model_construct(job_id=key[0], attempt=key[1], points=found), heard[key])
        for key, found in points.items()
    ]


def _order(received: Received) -> tuple[bool, int]:
    """Heartbeats in their order, the exit last; the other kinds do not depend on order."""
    message = received.message
    return isinstance(message, Exit), message.sequence if isinstance(message, Heartbeat) else 0

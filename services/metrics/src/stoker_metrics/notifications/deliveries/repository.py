"""SQL of deliveries. Every method runs in the caller's transaction."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from stoker_metrics.notifications.deliveries.schemas import Claimed, NewDelivery, Record, SealedBox
from stoker_shared.identifiers import new_identifier
from stoker_shared.rpc.notifications import DeliveriesQuery

_INSERT = text("""
INSERT INTO notification_deliveries (delivery_id, owner, target_id, rule_id, event_id, type, job_id, occurred_at,
                                     payload, state, failed_attempts, next_attempt_at, created_at, finished_at)
VALUES (:delivery_id, :owner, :target_id, :rule_id, :event_id, :type, :job_id, :occurred_at,
        :payload, :state, 0, :next_attempt_at, :now, :finished_at)
ON CONFLICT (target_id, event_id) DO NOTHING
RETURNING delivery_id
""")
# One at a time to each target, so that its deliveries stay in order and a slow one holds no other. A later delivery of
# the same job waits for an earlier one, but not for as long as a receiver may be away. Whoever claims meanwhile makes
# the condition on `claimed_until` false when it is looked at again under the lock.
_CLAIM = text("""
WITH heads AS (
    SELECT DISTINCT ON (d.target_id) d.delivery_id
    FROM notification_deliveries d JOIN notification_targets t USING (target_id)
    WHERE d.state = 'waiting' AND d.next_attempt_at <= :now AND t.state = 'active'
      AND (t.quiet_until IS NULL OR t.quiet_until <= :now)
      AND NOT EXISTS (SELECT 1 FROM notification_deliveries c
                      WHERE c.target_id = d.target_id AND c.state = 'waiting' AND c.claimed_until > :now)
      AND NOT EXISTS (SELECT 1 FROM notification_deliveries e
                      WHERE e.target_id = d.target_id AND e.job_id = d.job_id AND e.state = 'waiting'
                        AND (e.occurred_at, e.position) < (d.occurred_at, d.position) AND e.created_at > :order_since)
    ORDER BY d.target_id, d.occurred_at, d.position
), free AS (
    SELECT d.delivery_id FROM notification_deliveries d JOIN heads USING (delivery_id)
    WHERE d.state = 'waiting' AND (d.claimed_until IS NULL OR d.claimed_until <= :now)
    ORDER BY d.next_attempt_at LIMIT :limit
    FOR UPDATE OF d SKIP LOCKED
)
UPDATE notification_deliveries d SET claim_token = :token, claimed_until = :until
FROM free, notification_targets t
WHERE d.delivery_id = free.delivery_id AND t.target_id = d.target_id
RETURNING d.delivery_id, d.target_id, d.owner, d.type, d.payload, d.failed_attempts, t.kind, t.sealed_address,
          t.address_key_id, t.sealed_signing, t.signing_key_id, t.previous_signing, t.previous_key_id, t.previous_until
""")
_CLAIM_ONE = text("""
UPDATE notification_deliveries d SET claim_token = :token, claimed_until = :until
FROM notification_targets t
WHERE d.delivery_id = :delivery_id AND t.target_id = d.target_id AND d.state = 'waiting'
  AND (d.claimed_until IS NULL OR d.claimed_until <= :now)
RETURNING d.delivery_id, d.target_id, d.owner, d.type, d.payload, d.failed_attempts, t.kind, t.sealed_address,
          t.address_key_id, t.sealed_signing, t.signing_key_id, t.previous_signing, t.previous_key_id, t.previous_until
""")
_RECORD = text("""
UPDATE notification_deliveries
SET state = :state, next_attempt_at = :next_attempt_at, claim_token = NULL, claimed_until = NULL,
    failed_attempts = failed_attempts + :failed, finished_at = :finished_at
WHERE delivery_id = :delivery_id AND claim_token = :token
RETURNING delivery_id
""")
_ATTEMPT = text("""
INSERT INTO notification_attempts (delivery_id, number, at, milliseconds, status, error)
SELECT :delivery_id, 1 + coalesce(max(number), 0), :at, :milliseconds, CAST(:status AS integer), :error
FROM notification_attempts WHERE delivery_id = :delivery_id
""")
_RELEASE = text("""
UPDATE notification_deliveries SET claim_token = NULL, claimed_until = NULL
WHERE delivery_id = :delivery_id AND claim_token = :token
""")
_DROP_WAITING = text("""
UPDATE notification_deliveries
SET state = 'failed', finished_at = :now, next_attempt_at = NULL, claim_token = NULL, claimed_until = NULL
WHERE target_id = :target_id AND state = 'waiting'
""")
_LIST = text("""
SELECT delivery_id, position, target_id, type, event_id, job_id, state, occurred_at, created_at, next_attempt_at,
       finished_at, held_back, held_until
FROM notification_deliveries
WHERE owner = :owner AND (CAST(:target_id AS text) IS NULL OR target_id = :target_id)
  AND (CAST(:job_id AS text) IS NULL OR job_id = :job_id) AND (CAST(:state AS text) IS NULL OR state = :state)
  AND (CAST(:before AS bigint) IS NULL OR position < :before)
  AND (CAST(:delivery_id AS text) IS NULL OR delivery_id = :delivery_id)
ORDER BY position DESC LIMIT :limit
""")
_ATTEMPTS = text("""
SELECT delivery_id, number, at, milliseconds, status, error FROM notification_attempts
WHERE delivery_id = ANY(CAST(:delivery_ids AS text[])) ORDER BY delivery_id, number
""")
_AGAIN = text("""
UPDATE notification_deliveries
SET state = 'waiting', failed_attempts = 0, next_attempt_at = :now, finished_at = NULL, created_at = :now
WHERE delivery_id = :delivery_id AND owner = :owner AND (claimed_until IS NULL OR claimed_until <= :now)
RETURNING delivery_id
""")
# To an active target each is tried to its end; the schedule of attempts is bounded.
_GIVE_UP = text("""
UPDATE notification_deliveries
SET state = 'failed', finished_at = :now, next_attempt_at = NULL, claim_token = NULL, claimed_until = NULL
WHERE delivery_id IN (
    SELECT d.delivery_id FROM notification_deliveries d JOIN notification_targets t USING (target_id)
    WHERE d.state = 'waiting' AND d.created_at < :before AND t.state <> 'active'
      AND (d.claimed_until IS NULL OR d.claimed_until <= :now)
    LIMIT :limit FOR UPDATE OF d SKIP LOCKED)
RETURNING delivery_id
""")
# What the clock told of a job that goes on is told once only as long as it stands here.
_FORGET = text("""
DELETE FROM notification_deliveries WHERE delivery_id IN (
    SELECT delivery_id FROM notification_deliveries d
    WHERE finished_at < :before
      AND NOT EXISTS (SELECT 1 FROM notification_jobs j
                      WHERE d.type IN ('job.budget_share', 'job.queued_long') AND j.job_id = d.job_id
                        AND j.status NOT IN ('completed', 'failed', 'cancelled'))
    LIMIT :limit FOR UPDATE OF d SKIP LOCKED)
RETURNING delivery_id
""")


class DeliveryRepository:
    """Reads and writes deliveries and their attempts."""

    async def add(
        self, session: AsyncSession, delivery: NewDelivery, *, now: datetime, not_before: datetime | None = None
    ) -> str | None:
        """Store a delivery, due now or not before that; None: this target has one of the event already."""
        values = {
            "delivery_id": new_identifier("msg"),
            **{name: getattr(delivery, name) for name in NewDelivery.__slots__ if name != "is_late"},
            "state": "late" if delivery.is_late else "waiting",
            "next_attempt_at": None if delivery.is_late else not_before or now,
            "finished_at": now if delivery.is_late else None,
            "now": now,
        }
        row = (await session.execute(_INSERT, values)).first()
        return None if row is None else str(row.delivery_id)

    async def claim(
        self, session: AsyncSession, *, now: datetime, until: datetime, order_since: datetime, limit: int
    ) -> list[Claimed]:
        """Claim what is due, at most one for each target."""
        token = uuid4()
        values = {"now": now, "until": until, "order_since": order_since, "limit": limit, "token": token}
        return [_claimed(row, token, now) for row in (await session.execute(_CLAIM, values)).mappings()]

    async def claim_one(
        self, session: AsyncSession, delivery_id: str, *, now: datetime, until: datetime
    ) -> Claimed | None:
        """Claim this one, whatever else waits; None: somebody has it."""
        token = uuid4()
        values = {"delivery_id": delivery_id, "now": now, "until": until, "token": token}
        row = (await session.execute(_CLAIM_ONE, values)).mappings().first()
        return None if row is None else _claimed(row, token, now)

    async def record(self, session: AsyncSession, claimed: Claimed, record: Record) -> bool:
        """Write what came of an attempt. False: the claim was lost, somebody else sends it."""
        is_over = record.verdict != "again"
        state = "waiting" if not is_over else "delivered" if record.verdict == "delivered" else "failed"
        values = {
            "delivery_id": claimed.delivery_id,
            "token": claimed.token,
            "state": state,
            "next_attempt_at": record.next_attempt_at,
            "failed": int(record.verdict != "delivered"),
            "finished_at": record.at + record.took if is_over else None,
        }
        if (await session.execute(_RECORD, values)).first() is None:
            return False
        attempt = {
            "delivery_id": claimed.delivery_id,
            "at": record.at,
            "milliseconds": int(record.took.total_seconds() * 1000),
            "status": record.outcome.status,
            "error": record.outcome.error,
        }
        await session.execute(_ATTEMPT, attempt)
        return True

    async def release(self, session: AsyncSession, claimed: Claimed) -> None:
        """Give a delivery back that was not tried."""
        await session.execute(_RELEASE, {"delivery_id": claimed.delivery_id, "token": claimed.token})

    async def drop_waiting(self, session: AsyncSession, *, target_id: str, now: datetime) -> None:
        """Nothing more goes to this target."""
        await session.execute(_DROP_WAITING, {"target_id": target_id, "now": now})

    async def again(self, session: AsyncSession, *, owner: str, delivery_id: str, now: datetime) -> bool:
        """Have a delivery sent again, under the same id. False: not theirs, or being sent just now."""
        values = {"owner": owner, "delivery_id": delivery_id, "now": now}
        return (await session.execute(_AGAIN, values)).first() is not None

    async def page(self, session: AsyncSession, query: DeliveriesQuery) -> list[dict[str, Any]]:
        """Deliveries of an owner, newest first, with their attempts."""
        return await self._rows(session, {**query.model_dump(), "delivery_id": None})

    async def one(self, session: AsyncSession, *, owner: str, delivery_id: str) -> dict[str, Any] | None:
        """A delivery of an owner with its attempts."""
        query = DeliveriesQuery(owner=owner, limit=1).model_dump()
        return next(iter(await self._rows(session, {**query, "delivery_id": delivery_id})), None)

    async def forget(self, session: AsyncSession, *, before: datetime, limit: int) -> int:
        """Delete some of those that were finished before that moment. Returns how many."""
        return len((await session.execute(_FORGET, {"before": before, "limit": limit})).all())

    async def give_up(self, session: AsyncSession, *, before: datetime, now: datetime, limit: int) -> int:
        """End some of those that have waited since before a moment for a target that is paused. Returns how many."""
        return len((await session.execute(_GIVE_UP, {"before": before, "now": now, "limit": limit})).all())

    async def _rows(self, session: AsyncSession, values: dict[str, Any]) -> list[dict[str, Any]]:
        rows = [dict(row) for row in (await session.execute(_LIST, values)).mappings()]
        tried = await session.execute(_ATTEMPTS, {"delivery_ids": [row["delivery_id"] for row in rows]})
        attempts: dict[str, list[dict[str, Any]]] = {}
        for attempt in tried.mappings():
            attempts.setdefault(attempt["delivery_id"], []).append(dict(attempt))
        return [{**row, "attempts": attempts.get(row["delivery_id"], [])} for row in rows]


def _claimed(row: Any, token: UUID, now: datetime) -> Claimed:
    signing: Sequence[SealedBox] = ()
    if row["sealed_signing"] is not None:
        signing = [SealedBox(row["sealed_signing"], row["signing_key_id"])]
        if row["previous_signing"] is not None and row["previous_until"] > now:
            signing = [*signing, SealedBox(row["previous_signing"], row["previous_key_id"])]
    return Claimed(
        delivery_id=row["delivery_id"],
        token=token,
        target_id=row["target_id"],
        owner=row["owner"],
        kind=row["kind"],
        type=row["type"],
        payload=row["payload"],
        failed_attempts=row["failed_attempts"],
        address=SealedBox(row["sealed_address"], row["address_key_id"]),
        signing=tuple(signing),
    )

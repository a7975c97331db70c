"""SQL of the outbox."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from stoker_shared.commands import Command
from stoker_shared.events import Event
from stoker_shared.outbox.tables import OutboxMessage
from stoker_shared.trace import TRACEPARENT_HEADER, traceparent, traceparent_for

# Claims of several relays are taken and settled one after the other: SKIP LOCKED alone would let one relay take
# message 2 of a job while another still holds message 1 in an uncommitted claim or release.
_SERIALISE = text("SELECT pg_advisory_xact_lock(hashtext(current_schema() || ' outbox claim'))")
# Only the head of each key's queue: a later message of the same job must not overtake one whose publish is unknown.
_CLAIM = text("""
UPDATE outbox SET claimed_until = :until, claim_token = :token
WHERE id IN (
    SELECT o.id FROM outbox o
    WHERE o.published_at IS NULL
      AND (o.claimed_until IS NULL OR o.claimed_until < :now)
      AND NOT EXISTS (
          SELECT 1 FROM outbox earlier
          WHERE earlier.ordering_key = o.ordering_key AND earlier.published_at IS NULL
            AND earlier.id < o.id AND earlier.claimed_until >= :now)
    ORDER BY o.id
    LIMIT :limit
    FOR UPDATE SKIP LOCKED)
RETURNING id, event_id, subject, ordering_key, payload, headers
""")
_MARK = text("""
UPDATE outbox
SET published_at = :now, stream = :stream, stream_sequence = :sequence, claim_token = NULL, claimed_until = NULL
WHERE id = :id AND claim_token = :token
""")
_RELEASE = text(
    "UPDATE outbox SET claim_token = NULL, claimed_until = NULL WHERE claim_token = :token AND published_at IS NULL"
)
_COUNT_WAITING = text("SELECT count(*) FROM outbox WHERE published_at IS NULL")
_SWEEP = text("DELETE FROM outbox WHERE published_at < :before")
_SWEEP_PROCESSED = text("DELETE FROM processed WHERE processed_at < :before")
_REFEED = text("""
UPDATE outbox SET published_at = NULL, stream = NULL, stream_sequence = NULL
WHERE published_at IS NOT NULL AND stream = :stream AND stream_sequence > :after
""")
_OFFER_AGAIN = text("""
UPDATE outbox SET published_at = NULL, stream = NULL, stream_sequence = NULL
WHERE published_at >= :since AND stream = :stream
""")
# What we sent since the last look counts too: the broker said that it had it.
_WATERMARK = text("""
SELECT created_at,
       greatest(last_sequence, (SELECT max(stream_sequence) FROM outbox WHERE stream = :stream)) AS last_sequence
FROM broker_watermark WHERE stream = :stream
""")
_SET_WATERMARK = text("""
INSERT INTO broker_watermark (stream, created_at, last_sequence) VALUES (:stream, :created_at, :last_sequence)
ON CONFLICT (stream) DO UPDATE SET created_at = excluded.created_at, last_sequence = excluded.last_sequence
""")


@dataclass(frozen=True, slots=True)
class ClaimedMessage:
    """A message that this relay alone may send, until its claim runs out."""

    id: int
    event_id: UUID
    subject: str
    ordering_key: str
    payload: dict[str, Any]
    headers: dict[str, str]


@dataclass(frozen=True, slots=True)
class Watermark:
    """What a stream looked like."""

    created_at: datetime
    last_sequence: int


async def enqueue(session: AsyncSession, message: Event | Command) -> None:
    """Store a message in the transaction of the change it tells of. Messages of one job keep their order."""
    session.add(_row(message))


def _row(message: Event | Command) -> OutboxMessage:
    return OutboxMessage(
        event_id=message.event_id,
        subject=message.subject,
        ordering_key=message.aggregate_id if isinstance(message, Event) else message.job_id,
        payload=message.model_dump(mode="json"),
        headers=cloud_event_headers(message),
        created_at=message.occurred_at,
    )


def cloud_event_headers(message: Event | Command) -> dict[str, str]:
    """CloudEvents 1.0 attributes in the binary form of its NATS binding, and the trace."""
    return {
        "ce-specversion": "1.0",
        "ce-id": str(message.event_id),
        "ce-type": f"stoker.{type(message).__name__}.v{message.schema_version}",
        "ce-source": f"stoker/{message.subject.split('.')[1]}",
        "ce-subject": message.job_id if isinstance(message, Command) else message.aggregate_id,
        "ce-time": message.occurred_at.isoformat(),
        "content-type": "application/json",
        TRACEPARENT_HEADER: _traceparent_of(message),
    }


def _traceparent_of(message: Event | Command) -> str:
    # All that is told of a job belongs to the job's trace, whoever tells it and in whatever trace he is.
    job_id = getattr(message, "job_id", None)
    return traceparent() if job_id is None else traceparent_for(job_id)


class OutboxRepository:
    """Reads and writes outbox rows; every method runs in the caller's transaction."""

    async def add_claimed(
        self, session: AsyncSession, message: Event | Command, *, token: UUID, until: datetime
    ) -> ClaimedMessage:
        """Store a message that is claimed already. It must be the first one of its ordering key."""
        row = _row(message)
        row.claim_token, row.claimed_until = token, until
        session.add(row)
        await session.flush()
        return ClaimedMessage(
            id=int(row.id or 0),
            event_id=row.event_id,
            subject=row.subject,
            ordering_key=row.ordering_key,
            payload=row.payload,
            headers=row.headers,
        )

    async def count_waiting(self, session: AsyncSession) -> int:
        """How many messages are not sent yet."""
        return int((await session.execute(_COUNT_WAITING)).scalar_one())

    async def claim(
        self, session: AsyncSession, *, now: datetime, lease: timedelta, limit: int
    ) -> tuple[UUID, list[ClaimedMessage]]:
        """Take up to `limit` unsent messages for `lease`; oldest first."""
        token = uuid4()
        await session.execute(_SERIALISE)
        rows = await session.execute(_CLAIM, {"until": now + lease, "token": token, "now": now, "limit": limit})
        claimed = [ClaimedMessage(**row) for row in rows.mappings()]
        return token, sorted(claimed, key=lambda message: message.id)

    async def mark_published(
        self, session: AsyncSession, *, token: UUID, published: Sequence[tuple[int, str, int]], now: datetime
    ) -> None:
        """Record `(id, stream, stream_sequence)` of messages that the broker has acknowledged."""
        await session.execute(_SERIALISE)
        for identifier, stream, sequence in published:
            values = {"now": now, "stream": stream, "sequence": sequence, "id": identifier, "token": token}
            await session.execute(_MARK, values)

    async def release(self, session: AsyncSession, *, token: UUID) -> None:
        """Give up the claim on what was not sent."""
        await session.execute(_RELEASE, {"token": token})

    async def sweep(self, session: AsyncSession, *, published_before: datetime, processed_before: datetime) -> None:
        """Forget rows that nobody can need any more."""
        await session.execute(_SWEEP, {"before": published_before})
        await session.execute(_SWEEP_PROCESSED, {"before": processed_before})

    async def refeed(self, session: AsyncSession, *, stream: str, after: int) -> int:
        """Queue again what the broker has lost: everything sent to `stream` beyond sequence `after`."""
        result = await session.execute(_REFEED, {"stream": stream, "after": after})
        return int(result.rowcount)  # type: ignore[attr-defined]

    async def offer_again(self, session: AsyncSession, *, stream: str, since: datetime) -> int:
        """Queue again everything sent to `stream` since then."""
        result = await session.execute(_OFFER_AGAIN, {"stream": stream, "since": since})
        return int(result.rowcount)  # type: ignore[attr-defined]

    async def watermark(self, session: AsyncSession, *, stream: str) -> Watermark | None:
        """How far the stream had come at the last look."""
        row = (await session.execute(_WATERMARK, {"stream": stream})).first()
        return Watermark(row[0], row[1]) if row else None

    async def set_watermark(self, session: AsyncSession, *, stream: str, watermark: Watermark) -> None:
        """Remember how far the stream has come."""
        values = {"stream": stream, "created_at": watermark.created_at, "last_sequence": watermark.last_sequence}
        await session.execute(_SET_WATERMARK, values)

"""Filling an outbox, and publishers that fail as told."""

import asyncio
import json
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import uuid4

from nats.js.api import RawStreamMsg
from sqlalchemy import text

from stoker_shared.bus import Acknowledgement, JetStreamPublisher
from stoker_shared.database import Database
from stoker_shared.events import JobQueued
from stoker_shared.job_state import JobStatus
from stoker_shared.outbox import enqueue


def job(number: int) -> str:
    """The id of a job."""
    return f"job-{number:016x}"


def fact(job_id: str, sequence: int) -> JobQueued:
    """An event of a job."""
    return JobQueued(
        event_id=uuid4(),
        occurred_at=datetime.now(UTC),
        sequence=sequence,
        job_id=job_id,
        attempt=0,
        status=JobStatus.QUEUED,
        spent_micro_usd=0,
    )


async def fill(database: Database, *, jobs: int, events: int, first: int = 1) -> None:
    """Enqueue events 1, 2, 3... of each job, the jobs mixed."""
    for sequence in range(first, first + events):
        async with database.transaction() as session:
            for number in range(1, jobs + 1):
                await enqueue(session, fact(job(number), sequence))


async def waiting(database: Database) -> int:
    """How many messages are not sent yet."""
    async with database.transaction() as session:
        return int((await session.execute(text("SELECT count(*) FROM outbox WHERE published_at IS NULL"))).scalar_one())


async def is_sent(database: Database) -> bool:
    """Whether none waits."""
    return await waiting(database) == 0


def sequences(messages: Sequence[RawStreamMsg]) -> dict[str, list[int]]:
    """By job, the sequences of its events in the order of the stream."""
    found: dict[str, list[int]] = defaultdict(list)
    for message in messages:
        event = json.loads(message.data or b"")
        found[event["job_id"]].append(event["sequence"])
    return dict(found)


class ForgetfulPublisher(JetStreamPublisher):
    """Publishes, then the process dies before anybody hears of it."""

    def __init__(self, real: JetStreamPublisher) -> None:
        super().__init__(real._client)
        self.sent: list[str] = []

    async def publish(
        self, subject: str, payload: bytes, *, message_id: str, headers: dict[str, str] | None = None
    ) -> Acknowledgement:
        """Send, and be killed."""
        await super().publish(subject, payload, message_id=message_id, headers=headers)
        self.sent.append(message_id)
        raise asyncio.CancelledError

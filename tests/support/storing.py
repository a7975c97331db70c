"""The metrics service's storing and reading parts on a real database, without broker and HTTP."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from nats.aio.client import Client
from pydantic import SecretStr

from stoker_metrics.attempts.service import Attempts
from stoker_metrics.attempts.silence import Hearing
from stoker_metrics.attempts.standings import Standings, StandingSettings
from stoker_metrics.keeping.schemas import Caps
from stoker_metrics.object_store import ObjectStore
from stoker_metrics.storing.schemas import Received, Telemetry
from stoker_metrics.storing.service import Store
from stoker_shared.bus import JetStreamPublisher
from stoker_shared.clock import ManualClock
from stoker_shared.database import Database
from stoker_shared.errors import BrokerUnavailable
from stoker_shared.object_store.address import StoreAddress
from stoker_shared.rpc.metrics import Line, LogBatch, MetricsBatch, Point
from tests.support.metrics import JOB, OWNER
from tests.support.servers import TestBucket, TestDatabase
from tests.support.tables import Tables

AT = datetime(2026, 11, 22, 10, tzinfo=UTC)
_ADMIT = "INSERT INTO attempt_reports (job_id, attempt, owner, admitted_at) VALUES ($1, $2, $3, $4)"


@dataclass
class StoringWorld(Tables):
    """A store, and a look at its tables."""

    database: Database
    clock: ManualClock
    store: Store
    attempts: Attempts

    async def admit(self, job_id: str = JOB, *, attempt: int = 1, at: datetime = AT, owner: str = OWNER) -> None:
        """As the deployer does."""
        await self.execute(_ADMIT, job_id, attempt, owner, at)

    async def keep(self, *messages: Telemetry) -> None:
        """Store messages in one transaction."""
        await self.store.store([Received(message, self.clock.now()) for message in messages])

    async def keep_points(self, points: Sequence[Point], *, job_id: str = JOB, attempt: int = 1) -> None:
        """Store points."""
        await self.keep(MetricsBatch(job_id=job_id, attempt=attempt, points=list(points)))

    async def keep_lines(self, lines: Sequence[Line], *, job_id: str = JOB, attempt: int = 1) -> None:
        """Store lines."""
        await self.keep(LogBatch(job_id=job_id, attempt=attempt, lines=list(lines)))


@asynccontextmanager
async def storing_world(database: TestDatabase, *, caps: Caps | None = None) -> AsyncIterator[StoringWorld]:
    """Everything connected."""
    clock = ManualClock(AT)
    connected = Database(SecretStr(database.url("metrics")))
    memory = StandingSettings(list_every=timedelta(seconds=2), kept_for=timedelta(minutes=10))
    standings = Standings(connected, JetStreamPublisher(_no_broker), clock=clock, settings=memory)
    hearing = Hearing(clock=clock, silent_after=timedelta(seconds=15), grace=timedelta(seconds=45))
    try:
        yield StoringWorld(
            database.url("metrics", driver="postgresql"),
            connected,
            clock,
            Store(connected, clock=clock, caps=caps),
            Attempts(connected, standings=standings, hearing=hearing, clock=clock),
        )
    finally:
        await connected.close()


def _no_broker() -> Client:
    raise BrokerUnavailable("a standing", "this world has no broker")


def store_of(bucket: TestBucket) -> ObjectStore:
    """The service's client of a test's bucket."""
    return ObjectStore(
        StoreAddress(
            endpoint=bucket.endpoint,
            access_key=SecretStr(bucket.access_key),
            secret_key=SecretStr(bucket.secret_key),
            bucket=bucket.bucket,
            region=bucket.region,
            is_secure=bucket.secure,
        )
    )


def store_variables(bucket: TestBucket) -> dict[str, str]:
    """Settings of the service that lead it to a test's bucket."""
    values = {
        "S3_ENDPOINT": bucket.endpoint,
        "S3_ACCESS_KEY": bucket.access_key,
        "S3_SECRET_KEY": bucket.secret_key,
        "S3_BUCKET": bucket.bucket,
    }
    return {f"STOKER_METRICS_{name}": value for name, value in values.items()}


def point(sequence: int, *, step: int | None = None, **values: float | None) -> Point:
    """A point; its step is its sequence unless given."""
    return Point(sequence=sequence, step=sequence if step is None else step, at=AT, values=values)


def line(sequence: int, text: str = "", *, stream: str = "stdout", at: datetime = AT) -> Line:
    """A line."""
    return Line(sequence=sequence, at=at, stream=stream, text=text or f"line {sequence}")

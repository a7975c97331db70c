"""Rules of notifications on a real database, without broker and receivers."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import asyncpg
from pydantic import SecretStr

from stoker_metrics.notifications.rules.service import Rules
from stoker_shared.clock import ManualClock
from stoker_shared.database import Database
from stoker_shared.events import AlertRaised, JobEvent, PodEvent
from stoker_shared.rpc.notifications import AddRule
from tests.support.notifications import JOB, OWNER
from tests.support.servers import TestDatabase
from tests.support.tables import Tables

AT = datetime(2026, 11, 22, 10, tzinfo=UTC)
_TARGET = """
INSERT INTO notification_targets (target_id, owner, name, kind, sealed_address, address_key_id, place, hint, state,
                                  state_detail, failures, created_at)
VALUES ($1, $2, $1, 'email', 'box', 'key', 'example.com', '', 'active', '', 0, $3)
"""


@dataclass
class TellingWorld(Tables):
    """Rules, and a look at their tables."""

    rules: Rules
    database: Database
    clock: ManualClock

    async def target(self, number: int, *events: str) -> str:
        """A target that is told of these events."""
        target_id = f"target-{number:016x}"
        await self.rows(_TARGET, target_id, OWNER, AT)
        await self.rules.add(AddRule.model_validate({"owner": OWNER, "target_id": target_id, "events": events}))
        return target_id

    async def take(self, *events: JobEvent | PodEvent) -> None:
        """As they come from the broker."""
        for event in events:
            await self.rules.take(event, consumer="test", delivered=1)

    async def alerts(self, count: int, *, job_id: str = JOB, every: timedelta = timedelta(seconds=1)) -> None:
        """So many alerts of a job, one after the other."""
        for number in range(count):
            await self.take(self.alert(job_id=job_id, message=f"alert {number}"))
            self.clock.advance(every)

    def alert(self, *, job_id: str = JOB, message: str = "m", at: datetime | None = None) -> AlertRaised:
        """An alert of now."""
        return AlertRaised(
            event_id=uuid4(),
            occurred_at=at or self.clock.now(),
            sequence=1,
            job_id=job_id,
            attempt=1,
            level="warning",
            code="c",
            message=message,
        )

    async def log(self, **wanted: Any) -> list[asyncpg.Record]:
        """Deliveries with these values, oldest first."""
        rows = await self.rows("SELECT * FROM notification_deliveries ORDER BY position")
        return [row for row in rows if all(row[name] == value for name, value in wanted.items())]


@asynccontextmanager
async def telling_world(database: TestDatabase, *, most_alerts: int = 20) -> AsyncIterator[TellingWorld]:
    """Connected; the clock stands at `AT`."""
    clock = ManualClock(AT)
    connected = Database(SecretStr(database.url("metrics")))
    rules = Rules(
        connected,
        clock=clock,
        wake=lambda: None,
        late_after=timedelta(hours=1),
        most_alerts=most_alerts,
        api_url="https://stoker.example/",
    )
    try:
        yield TellingWorld(database.url("metrics", driver="postgresql"), rules, connected, clock)
    finally:
        await connected.close()

"""The rival: a plain poll loop. For each job and tick one describe, one question for the report, one transaction.

    python -m benchmarks.reconcile.rival DATABASE_URL NATS_URL SEED_FILE TICK_SECONDS NAMES_FILE

It is spared everything else that a deployer does: no object mapper, no ledger, no fencing, no outbox; an event is
published right after the commit, and lost if the process dies in between.
"""

import asyncio
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import asyncpg
import uvloop

from benchmarks.reconcile.child import answer_questions
from benchmarks.reconcile.instant_provider import InstantProvider
from stoker_deployer.jobs.announcing import PHASE_EVENTS
from stoker_deployer.jobs.running import PHASE_STATUS
from stoker_shared.bus import Bus, BusSettings, RpcClient
from stoker_shared.job_state import JobStatus
from stoker_shared.rpc.metrics import REPORT, ReportRequest
from stoker_shared.tasks import end_tasks

WORKERS = 16
_NEXT = """
SELECT job_id, status, sequence FROM jobs WHERE next_check_at <= $1
ORDER BY next_check_at LIMIT 1 FOR UPDATE SKIP LOCKED
"""
_DONE = "UPDATE jobs SET status = $2, sequence = $3, next_check_at = $4 WHERE job_id = $1"


class PollLoop:
    """The workers of one process."""

    def __init__(self, pool: asyncpg.Pool, bus: Bus, provider: InstantProvider, *, tick: timedelta) -> None:
        self._pool = pool
        self._bus = bus
        self._rpc = RpcClient(bus)
        self._provider = provider
        self._tick = tick
        self.looks = 0

    async def work(self) -> None:
        """Take the job that is due longest, look, write, commit, tell; until cancelled."""
        while True:
            if not await self._look():
                await asyncio.sleep(0.1)

    async def _look(self) -> bool:
        async with self._pool.acquire() as connection, connection.transaction():
            row = await connection.fetchrow(_NEXT, datetime.now(UTC))
            if row is None:
                return False
            await self._provider.describe(f"{row['job_id']}-1")
            report = await self._rpc.ask(REPORT, ReportRequest(job_id=row["job_id"], attempt=1))
            status = PHASE_STATUS[report.phase] if report.phase else JobStatus(row["status"])
            has_moved = status != row["status"]
            sequence = row["sequence"] + has_moved
            await connection.execute(_DONE, row["job_id"], status.value, sequence, datetime.now(UTC) + self._tick)
        self.looks += 1
        if has_moved:
            await self._tell(row["job_id"], status, sequence)
        return True

    async def _tell(self, job_id: str, status: JobStatus, sequence: int) -> None:
        event = PHASE_EVENTS[status](
            event_id=uuid4(),
            occurred_at=datetime.now(UTC),
            sequence=sequence,
            job_id=job_id,
            attempt=1,
            status=status,
            spent_micro_usd=0,
        )  # type: ignore[call-arg]
        payload = event.model_dump_json().encode()
        await self._bus.publisher.publish(event.subject, payload, message_id=str(event.event_id))


async def main(database_url: str, nats_url: str, seed_file: str, tick: str, names: str) -> None:
    """Work until the input ends."""
    bus = Bus(BusSettings(url=nats_url, service="deployer", seed_file=Path(seed_file)))
    await bus.start()
    provider = InstantProvider(names.split())
    async with asyncpg.create_pool(database_url, min_size=WORKERS, max_size=WORKERS) as pool:
        loop = PollLoop(pool, bus, provider, tick=timedelta(seconds=float(tick)))
        workers = [asyncio.create_task(loop.work()) for _ in range(WORKERS)]
        await answer_questions(lambda: {**provider.calls, "looks": loop.looks})
        await end_tasks(workers)
    await bus.stop()


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:5], names=Path(sys.argv[5]).read_text()))

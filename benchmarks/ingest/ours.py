"""The metrics service as it runs: NATS with file storage, PostgreSQL, and one process or two of its own.

Of two the first takes reports and leaves storing to the second, which gives way to it (docs/storing.md).
"""

import asyncio
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
from pydantic import SecretStr

from benchmarks.ingest.load import Target
from stoker.stack.standalone import RunningNats, RunningPostgres, running_nats, running_postgres
from stoker_metrics import MIGRATIONS
from stoker_shared.database import migrate_up
from tests.support.metrics import MetricsProcess, control_plane, environment
from tests.support.ports import free_port
from tests.support.servers import TestDatabase, fresh_database, reset_bus

PATIENCE_SECONDS = 600.0
STORING_NICENESS = 10


@dataclass
class Ours:
    """The running service."""

    nats: RunningNats
    postgres: RunningPostgres
    database: TestDatabase
    port: int
    pods_made: int = 0

    async def targets(self, pods: int) -> list[Target]:
        """A new admitted job for each pod."""
        made = []
        async with control_plane(self.nats) as plane:
            for _ in range(pods):
                self.pods_made += 1
                job_id = f"job-{self.pods_made:016x}"
                headers = {"Authorization": f"Bearer {await plane.admit(job_id=job_id)}"}
                made.append(Target("127.0.0.1", self.port, f"/v1/jobs/{job_id}/metrics", _body, headers))
        return made

    async def stored(self, expected: int) -> int:
        """Points in the database, as soon as there are as many as expected."""
        connection = await asyncpg.connect(self.database.url("metrics", driver="postgresql"))
        end = time.monotonic() + PATIENCE_SECONDS
        try:
            while (count := int(await connection.fetchval("SELECT count(*) FROM points"))) < expected:
                if time.monotonic() > end:
                    break
                await asyncio.sleep(0.1)
        finally:
            await connection.close()
        return count


@contextmanager
def running_ours(folder: Path, *, storing_apart: bool) -> Iterator[Ours]:
    """Broker, database and the service; `storing_apart`: with a second process that stores."""
    with ExitStack() as cleanup:
        nats = cleanup.enter_context(running_nats(folder / "nats"))
        postgres = cleanup.enter_context(running_postgres(folder / "postgres"))
        database = cleanup.enter_context(fresh_database(postgres))
        nats.loop.run(reset_bus(nats))
        url = database.url("metrics")
        migrate_up(MIGRATIONS, database_url=SecretStr(url))
        port = free_port()
        stores = "false" if storing_apart else "true"
        taking = environment(nats, url, port=port, STORES_REPORTS=stores)
        processes = [MetricsProcess(taking, folder / "metrics.log")]
        if storing_apart:
            storing = environment(nats, url, port=free_port())
            processes.append(MetricsProcess(storing, folder / "storing.log", niceness=STORING_NICENESS))
        for process in processes:
            nats.loop.run(process.start())
            cleanup.callback(process.stop)
        yield Ours(nats, postgres, database, port)


def _body(first: int, count: int) -> bytes:
    at = datetime.now(UTC).isoformat(timespec="milliseconds")
    points = ",".join(
        f'{{"sequence":{number},"step":{number},"at":"{at}","values":{{"loss":{2.5 + number % 97 / 1000}}}}}'
        for number in range(first, first + count)
    )
    return f'{{"attempt":1,"points":[{points}]}}'.encode()

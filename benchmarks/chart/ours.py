"""Metrics service and api as they run, each a process, on NATS and PostgreSQL; the run is sent as a pod sends it."""

import asyncio
import json
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import httpx
from pydantic import SecretStr

import stoker_api
import stoker_metrics
from benchmarks.chart.points import METRICS, run_of
from benchmarks.rivals.processes import running_process
from stoker.stack.standalone import RunningNats, running_nats, running_postgres
from stoker_shared.database import migrate_up
from stoker_shared.tokens import mint_token, token_hash
from tests.support.metrics import AT, JOB, bearer, control_plane, environment
from tests.support.ports import free_port
from tests.support.servers import TestDatabase, fresh_database, reset_bus

AT_ONCE = 4
BATCH = 1000
PATIENCE_SECONDS = 1200.0
# What a pod keeps its report for and sends again.
_AGAIN = frozenset({httpx.codes.TOO_MANY_REQUESTS, httpx.codes.SERVICE_UNAVAILABLE})
_SHOW = """
INSERT INTO job_views (job_id, owner, name, status, sequence, attempt, machine_sequence, spent_micro_usd,
                       price_micro_usd_per_hour, detail, created_at, updated_at)
VALUES ($1, $2, 'bench', 'training', 1, 1, 0, 0, 0, '', now(), now())
"""


@dataclass(frozen=True)
class Ours:
    """The running api with the run."""

    url: str
    key: str

    def chart(self, client: httpx.Client) -> int:
        """Load the chart of all metrics; returns the bytes that travelled."""
        answer = client.get(f"{self.url}/v1/jobs/{JOB}/chart", headers=bearer(self.key)).raise_for_status()
        (run,) = answer.json()["runs"]
        assert len(run["series"]) == len(METRICS), run["metrics"]
        assert all(len(line["last"]) >= 200 for line in run["series"]), [len(line["last"]) for line in run["series"]]
        return answer.num_bytes_downloaded


@contextmanager
def running_ours(folder: Path, *, points: int) -> Iterator[Ours]:
    """Everything that a chart passes through, until the block ends."""
    folder.mkdir(parents=True)
    key = f"stk_{mint_token().get_secret_value()}"
    with ExitStack() as cleanup:
        nats = cleanup.enter_context(running_nats(folder / "nats"))
        postgres = cleanup.enter_context(running_postgres(folder / "postgres"))
        nats.loop.run(reset_bus(nats))
        database = cleanup.enter_context(fresh_database(postgres))
        for name, package in (("metrics", stoker_metrics), ("api", stoker_api)):
            migrate_up(package.MIGRATIONS, database_url=SecretStr(database.url(name)))
        urls = {}
        for name, more in (("metrics", {}), ("api", {"STOKER_API_BOOTSTRAP_KEY_SHA256": token_hash(key)})):
            port = free_port()
            urls[name] = f"http://127.0.0.1:{port}"
            (folder / name).mkdir()
            variables = _variables(name, nats, database, port) | more
            command = [sys.executable, "-m", f"stoker_{name}", "serve"]
            cleanup.enter_context(running_process(command, folder / name, ready=f"{urls[name]}/readyz", more=variables))
        owner = httpx.get(f"{urls['api']}/v1/me", headers=bearer(key)).raise_for_status().json()["user_id"]
        nats.loop.run(_send(nats, database, urls["metrics"], owner=owner, points=points))
        yield Ours(urls["api"], key)


def _variables(name: str, nats: RunningNats, database: TestDatabase, port: int) -> dict[str, str]:
    values = environment(nats, database.url(name), port=port)
    values["STOKER_METRICS_NATS_SEED_FILE"] = str(nats.seed_files[name])
    return {key.replace("_METRICS_", f"_{name.upper()}_", 1): value for key, value in values.items()}


async def _send(nats: RunningNats, database: TestDatabase, url: str, *, owner: str, points: int) -> None:
    api = await asyncpg.connect(database.url("api", driver="postgresql"))
    await api.execute(_SHOW, JOB, owner)
    await api.close()
    async with control_plane(nats) as plane:
        token = await plane.admit(owner=owner)
    began = time.perf_counter()
    bodies = _bodies(points)
    async with httpx.AsyncClient(timeout=60, trust_env=False, headers=bearer(token)) as client:

        async def sender() -> None:
            for body in bodies:
                answer = await client.post(f"{url}/v1/jobs/{JOB}/metrics", content=body)
                while answer.status_code in _AGAIN:
                    await asyncio.sleep(0.5)
                    answer = await client.post(f"{url}/v1/jobs/{JOB}/metrics", content=body)
                answer.raise_for_status()

        await asyncio.gather(*(sender() for _ in range(AT_ONCE)))
    metrics = await asyncpg.connect(database.url("metrics", driver="postgresql"))
    while (stored := await metrics.fetchval("SELECT coalesce(sum(points_stored), 0) FROM kept_attempts")) < points:
        assert time.perf_counter() - began < PATIENCE_SECONDS, f"{stored} of {points} points are stored"
        await asyncio.sleep(0.1)
    await metrics.close()
    seconds = time.perf_counter() - began
    print(f"   us: {points:,} points sent, stored and levelled in {seconds:.1f} s ({points / seconds:,.0f} points/s)")


def _bodies(points: int) -> Iterator[bytes]:
    batch = []
    for step, values in enumerate(run_of(points), start=1):
        batch.append({"sequence": step, "step": step, "at": AT, "values": dict(zip(METRICS, values, strict=True))})
        if len(batch) == BATCH or step == points:
            yield json.dumps({"attempt": 1, "points": batch}).encode()
            batch = []

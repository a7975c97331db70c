"""Two hundred pods report while service, broker and database are killed in turn: every point and line counts."""

import asyncio
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest

from stoker.stack.standalone import RunningNats, RunningPostgres
from stoker_shared.rpc.metrics import LINES, POINTS, LinesQuery, Point, PointsQuery
from tests.support.bus import kill, raw_client, start, until
from tests.support.metrics import OWNER, ControlPlane, MetricsProcess, control_plane
from tests.support.ports import free_port
from tests.support.servers import TestBucket, TestDatabase
from tests.support.soaking_pods import TIME_TO_FINISH
from tests.support.storing import store_variables

MINUTES = float(os.environ.get("SOAK_MINUTES", "30"))
PODS = int(os.environ.get("SOAK_PODS", "200"))
PROCESSES = 2
SECONDS_BETWEEN_STEPS = 2.0
PAUSE_SECONDS = (20.0, 50.0)
OUTAGE_SECONDS = (0.0, 12.0)
PAGE = 10_000

pytestmark = [pytest.mark.soak, pytest.mark.timeout(int(MINUTES * 60) + 1800)]


class Pods:
    """Processes with pods in them."""

    def __init__(self, url: str, tokens: dict[str, str], folder: Path) -> None:
        self._folders = [folder / f"pods-{number}" for number in range(PROCESSES)]
        self._processes: list[subprocess.Popen[bytes]] = []
        for number, own in enumerate(self._folders):
            own.mkdir()
            shares = dict(list(tokens.items())[number::PROCESSES])
            plan = {"url": url, "folder": str(own), "every": SECONDS_BETWEEN_STEPS, "tokens": shares}
            (own / "plan.json").write_text(json.dumps(plan))

    def start(self) -> None:
        """Begin to report."""
        for own in self._folders:
            with (own / "log").open("ab") as log:
                command = [sys.executable, "-m", "tests.support.soaking_pods", str(own / "plan.json")]
                self._processes.append(subprocess.Popen(command, stdout=log, stderr=log))

    def assert_alive(self) -> None:
        """None of them has ended."""
        for process, own in zip(self._processes, self._folders, strict=True):
            assert process.poll() is None, (own / "log").read_text()[-3000:]

    async def finish(self) -> dict[str, int]:
        """Let all end; returns how much each job has said."""
        for process in self._processes:
            process.terminate()
        said: dict[str, int] = {}
        for process, own in zip(self._processes, self._folders, strict=True):
            await asyncio.to_thread(process.wait, TIME_TO_FINISH.total_seconds() + 60)
            facts = json.loads((own / "said.json").read_text())
            assert [job for job, fact in facts.items() if not fact["is_drained"]] == []
            said |= {job: fact["said"] for job, fact in facts.items()}
        return said

    def kill(self) -> None:
        """Whatever is left."""
        for process in self._processes:
            process.kill()
            process.wait()


@pytest.fixture
def soaked_variables(metrics_variables: dict[str, str], object_store: TestBucket) -> dict[str, str]:
    """The service on a port of its own; it packs lines while their jobs run."""
    port = free_port()
    values = {
        "PORT": str(port),
        "PUBLIC_URL": f"http://127.0.0.1:{port}",
        "PACK_AFTER": "PT1M",
        "SWEEP_EVERY": "PT15S",
    }
    own = {f"STOKER_METRICS_{name}": value for name, value in values.items()}
    return metrics_variables | store_variables(object_store) | own


async def test_what_pods_say_is_stored_once_and_in_order_whatever_is_killed(
    soaked_variables: dict[str, str],
    clean_bus: RunningNats,
    postgres: RunningPostgres,
    metrics_database: TestDatabase,
    tmp_path: Path,
) -> None:
    service = MetricsProcess(soaked_variables, tmp_path / "metrics.log")
    outages: dict[str, list[float]] = {"metrics": [], "nats": [], "postgres": []}
    async with _running(service), control_plane(clean_bus) as plane:
        tokens = {f"job-{number:016x}": "" for number in range(PODS)}
        for job_id in tokens:
            tokens[job_id] = await plane.admit(job_id=job_id, owner=OWNER)
        pods = Pods(service.url, tokens, tmp_path)
        try:
            pods.start()
            await _disturb(_faults(service, clean_bus, postgres), outages, pods)
            said = await pods.finish()
        finally:
            pods.kill()
        await until(lambda: _is_all_stored(clean_bus), within=600, what="all stored")
        faults = [fault for job_id, count in said.items() if (fault := await _fault_of(plane, job_id, count))]
    sys.stdout.write(_table(outages, said, packed=await _packed(metrics_database)))
    assert faults == []
    assert all(outages.values()), "each was killed at least once"


@asynccontextmanager
async def _running(service: MetricsProcess) -> AsyncIterator[None]:
    await service.start()
    try:
        yield
    finally:
        await asyncio.to_thread(service.kill)


Fault = Callable[[float], Awaitable[None]]


def _faults(service: MetricsProcess, nats: RunningNats, postgres: RunningPostgres) -> dict[str, Fault]:
    """Kill -9, nothing for some seconds, a start."""

    async def metrics(seconds: float) -> None:
        await asyncio.to_thread(service.kill)
        await asyncio.sleep(seconds)
        await service.start()

    async def broker(seconds: float) -> None:
        await kill(nats)
        await asyncio.sleep(seconds)
        await start(nats)

    async def database(seconds: float) -> None:
        await asyncio.to_thread(postgres.kill)
        await asyncio.sleep(seconds)
        await asyncio.to_thread(postgres.start)

    return {"metrics": metrics, "nats": broker, "postgres": database}


async def _disturb(faults: dict[str, Fault], outages: dict[str, list[float]], pods: Pods) -> None:
    chance = random.Random(6)  # the same run each time
    end = time.monotonic() + MINUTES * 60
    while True:
        await asyncio.sleep(min(chance.uniform(*PAUSE_SECONDS), max(0.0, end - time.monotonic())))
        pods.assert_alive()
        if time.monotonic() >= end:
            return
        name = min(outages, key=lambda one: (len(outages[one]), chance.random()))
        began = time.monotonic()
        await faults[name](chance.uniform(*OUTAGE_SECONDS))
        outages[name].append(time.monotonic() - began)


async def _is_all_stored(nats: RunningNats) -> bool:
    async with raw_client(nats, "topology") as client:
        info = await client.jetstream().consumer_info("TELEMETRY", "metrics_store")
    return not info.num_pending and not info.num_ack_pending


async def _fault_of(plane: ControlPlane, job_id: str, count: int) -> str | None:
    """What is not as it was said; None if all is: each point and line once, in order."""
    steps = [point.step for point in await _points(plane, job_id)]
    numbers = await _line_numbers(plane, job_id)
    expected = list(range(1, count + 1))
    if steps == expected and numbers == expected:
        return None
    return f"{job_id}: said {count}, {len(steps)} points, {len(numbers)} lines, lacks {set(expected) - set(steps)}"


async def _points(plane: ControlPlane, job_id: str) -> list[Point]:
    found = (await plane.api.ask(POINTS, PointsQuery(owner=OWNER, job_id=job_id, attempt=1, limit=PAGE))).points
    assert len(found) < PAGE, "one page holds a job"
    return found


async def _line_numbers(plane: ControlPlane, job_id: str) -> list[int]:
    """The numbers of the lines that the pods made, packed ones too."""
    numbers: list[int] = []
    after = 0
    while True:
        asked = LinesQuery(owner=OWNER, job_id=job_id, attempt=1, after_sequence=after, limit=1000)
        page = (await plane.api.ask(LINES, asked)).lines
        if not page:
            return numbers
        numbers += [int(line.text.removeprefix("line ")) for line in page]
        after = page[-1].sequence


async def _packed(database: TestDatabase) -> int:
    connection = await asyncpg.connect(database.url("metrics", driver="postgresql"))
    try:
        return int(await connection.fetchval("SELECT count(*) FROM log_chunks"))
    finally:
        await connection.close()


def _table(outages: dict[str, list[float]], said: dict[str, int], *, packed: int) -> str:
    total = sum(said.values())
    head = f"\n{len(said)} pods, {MINUTES:g} minutes: {total} points and as many lines; {packed} chunks packed\n"
    rows = [
        f"  {name:9} killed {len(away):3} times, away {sum(away):6.1f} s, {max(away, default=0):5.1f} s at most\n"
        for name, away in outages.items()
    ]
    return head + "".join(rows)

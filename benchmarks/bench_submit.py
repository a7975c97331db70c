"""From `POST /v1/jobs` to the provider's launch call, against one NATS request and reply plus one PostgreSQL commit.

The rival is the least that any design with a broker and a database could need: no HTTP, no framework, no retry, no
second service. Both are measured in turn, launch by launch, on the same servers in the same run.

    python -m benchmarks.bench_submit [LAUNCHES]
"""

import asyncio
import os
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Self

import asyncpg
import httpx
import nats

from stoker.stack.services import SERVICES, ServiceSpec
from stoker.stack.standalone import LoopThread, RunningNats, running_nats
from stoker_shared.permissions import Permission
from tests.support.live_stack import LiveStack, live_stack, tiny_recipe
from tests.support.tiny_model import conversations, write_rows

LAUNCHES = 200
WARM_UP = 20
ECHO = "bench.echo"
PERMISSIONS = {
    "asker": Permission(publish=(ECHO,), subscribe=("_INBOX.>",)),
    "echo": Permission(publish=(), subscribe=(ECHO,)),
}
# The machines never end in this run; looking at hundreds of them would be measured too.
QUIET = {"STOKER_DEPLOYER_MAX_ACTIVE_JOBS": "10000", "STOKER_DEPLOYER_ACTIVE_CHECK": "600"}


def main() -> None:
    """Measure and print; the last line is the ratio of the medians."""
    launches = int(sys.argv[1]) if len(sys.argv) > 1 else LAUNCHES
    os.environ.update(QUIET)
    os.environ["PYTHONPATH"] = os.pathsep.join((str(Path.cwd()), os.environ.get("PYTHONPATH", "")))
    with ExitStack() as cleanup:
        folder = Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix="stoker-bench-")))
        stack = cleanup.enter_context(live_stack(folder / "stack", services=with_instant_machines()))
        broker = cleanup.enter_context(running_nats(folder / "nats", PERMISSIONS))
        floor = cleanup.enter_context(Floor(broker, stack))
        ours, rival = measure(stack, floor, launches)
    report(ours, rival)


def with_instant_machines() -> tuple[ServiceSpec, ...]:
    """The stack's services with the simulated training server in the place of the real one."""
    options = "--port $STOKER_TRAINING_SERVER_PORT --key $STOKER_TRAINING_SERVER_API_KEY"
    command = ("/bin/sh", "-c", f"exec {sys.executable} -m tests.simulators.training_server {options}")
    return tuple(
        ServiceSpec(
            name=spec.name,
            command=command if spec.name == "training-server" else spec.command,
            environment=spec.environment,
            prefix=spec.prefix,
            needs=spec.needs,
            port_name=spec.port_name,
            migrate=spec.migrate,
            probe=spec.probe,
            passed_on_prefixes=spec.passed_on_prefixes,
            stop_timeout=timedelta(seconds=5),
        )
        for spec in SERVICES
    )


class Floor:
    """One request and reply with another process over NATS, then one committed insert."""

    def __init__(self, broker: RunningNats, stack: LiveStack) -> None:
        self._broker = broker
        self._stack = stack
        self._loop = LoopThread()

    def __enter__(self) -> Self:
        self._loop.run(self._open())
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.run(self._close())
        self._loop.close()

    def seconds(self) -> float:
        """How long it takes once."""
        return self._loop.run(self._once())

    async def _open(self) -> None:
        self._echo = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "benchmarks.echo", self._broker.url, str(self._broker.seed_files["echo"]), ECHO
        )
        self._nats = await nats.connect(self._broker.url, nkeys_seed=str(self._broker.seed_files["asker"]))
        self._database = await asyncpg.connect(self._stack.database_url("api"))
        await self._database.execute("CREATE TABLE bench_floor (id bigserial PRIMARY KEY, payload text NOT NULL)")
        await self._until_echo()

    async def _until_echo(self) -> None:
        while True:
            try:
                await self._nats.request(ECHO, b"?", timeout=1)
            except (nats.errors.NoRespondersError, nats.errors.TimeoutError):
                await asyncio.sleep(0.05)
            else:
                return

    async def _once(self) -> float:
        started = time.perf_counter()
        reply = await self._nats.request(ECHO, b"x" * 512, timeout=5)
        await self._database.execute("INSERT INTO bench_floor (payload) VALUES ($1)", reply.data.decode())
        return time.perf_counter() - started

    async def _close(self) -> None:
        await self._database.execute("DROP TABLE bench_floor")
        await self._database.close()
        await self._nats.close()
        self._echo.terminate()
        await self._echo.wait()


def measure(stack: LiveStack, floor: Floor, launches: int) -> tuple[list[float], list[float]]:
    """Seconds of each launch and of each floor, in turn."""
    with tempfile.TemporaryDirectory() as folder:
        dataset = stack.client.upload_dataset(write_rows(Path(folder) / "rows.jsonl", conversations()))
    plan = stack.client.plan(
        dataset.dataset_version_id, recipe=tiny_recipe(Path("/instant"), steps=1), provider="local", budget_usd="100"
    )
    sent_at: dict[str, float] = {}
    rival: list[float] = []
    body = {"plan_id": plan.plan_id, "plan_hash": plan.plan_hash}
    with httpx.Client(base_url=stack.stack.urls["api"], headers=stack.api_headers, timeout=30) as http:
        for number in range(WARM_UP + launches):
            rival.append(floor.seconds())
            sent = time.time()
            answer = http.post("/v1/jobs", json=body, headers={"Idempotency-Key": f"bench-{number}"})
            answer.raise_for_status()
            sent_at[answer.json()["job_id"]] = sent
            wait_for_call(stack, answer.json()["job_id"])
    arrived = launch_calls(stack)
    ours = [arrived[job_id] - sent for job_id, sent in sent_at.items()]
    return ours[WARM_UP:], rival[WARM_UP:]


def wait_for_call(stack: LiveStack, job_id: str) -> None:
    """One launch at a time: the next begins when this one has reached the provider and all is quiet again."""
    deadline = time.monotonic() + 30
    while not stack.has_machine(f"{job_id}-1"):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{job_id} did not reach the provider within 30 s")
        time.sleep(0.1)
    time.sleep(0.1)


def launch_calls(stack: LiveStack) -> dict[str, float]:
    """When the provider was called, by job; each job must have been launched exactly once."""
    calls: list[dict[str, Any]] = httpx.get(f"{stack.stack.urls['training_server']}/admin/calls", timeout=30).json()
    launches = [(call["name"].rsplit("-", 1)[0], call["at"]) for call in calls if call["operation"] == "launch"]
    arrived = {job_id: datetime.fromisoformat(at).timestamp() for job_id, at in launches}
    if len(arrived) != len(launches):
        raise RuntimeError("a job was launched more than once")
    return arrived


def report(ours: list[float], rival: list[float]) -> None:
    """Print medians, 95th percentiles, and the ratio."""
    us, them = percentiles(ours), percentiles(rival)
    print(f"POST /v1/jobs to launch call  p50 {us[0]:7.2f} ms  p95 {us[1]:7.2f} ms  ({len(ours)} launches)")
    print(f"request-reply plus commit     p50 {them[0]:7.2f} ms  p95 {them[1]:7.2f} ms")
    print(f"bench-submit ratio={us[0] / them[0]:.2f} (us {us[0]:.2f} ms / rival {them[0]:.2f} ms)")


def percentiles(seconds: list[float]) -> tuple[float, float]:
    """Median and 95th percentile in milliseconds."""
    cuts = statistics.quantiles(seconds, n=20)
    return statistics.median(seconds) * 1000, cuts[18] * 1000


if __name__ == "__main__":
    main()

"""Two deployers that watch 100, 1,000 and 10,000 live jobs, against a plain poll loop on the same servers.

Every machine runs at an instant in-process provider, so what is measured is the deployers' own work. Pods enter phases
at a steady pace (the busier of 3 a second in all and 7 an hour each); the lag is from a pod's word to the job event
that tells of it. The rival (benchmarks/reconcile/rival.py) does one describe, one question and one transaction for
each job and tick, in two processes as well.

    python -m benchmarks.bench_reconcile [JOBS...] [--seconds 30] [--only ours|rival]
"""

import argparse
import asyncio
import itertools
import json
import os
import statistics
import sys
import tempfile
from contextlib import AsyncExitStack, ExitStack, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Self

import psutil
from pydantic import SecretStr

from benchmarks.reconcile.world import Pods, store_jobs
from stoker.stack.standalone import RunningNats, RunningPostgres, running_nats, running_postgres
from stoker_deployer import MIGRATIONS
from stoker_shared.database import migrate_up
from tests.support.servers import TestDatabase, fresh_database, reset_bus

SIZES = (100, 1_000, 10_000)
PROCESSES = 2
RIVAL_TICK_SECONDS = 2.0  # what a deployer's own ACTIVE_CHECK is when it has little to do
WARM_UP = timedelta(seconds=12)
EVENTS_PER_JOB_AND_SECOND = 7 / 3600
LEAST_EVENTS_PER_SECOND = 3.0
KINDS = ("ours", "rival")


@dataclass(frozen=True, slots=True)
class Figures:
    """One run. CPU seconds are those of a job-minute: one job watched for one minute."""

    kind: str
    jobs: int
    deployer_cpu: float
    postgres_cpu: float
    nats_cpu: float
    memory_mib: float
    lag_p50: float
    lag_p95: float
    unheard: int
    provider_calls: float
    looks: float

    @property
    def cpu(self) -> float:
        """All of it."""
        return self.deployer_cpu + self.postgres_cpu + self.nats_cpu


def main() -> None:
    """Measure each size, print the table, the growth, and last the ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("jobs", nargs="*", type=int, default=list(SIZES))
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--only", choices=KINDS)
    asked = parser.parse_args()
    kinds = (asked.only,) if asked.only else KINDS
    found: list[Figures] = []
    with ExitStack() as cleanup:
        folder = Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix="stoker-bench-")))
        broker = cleanup.enter_context(running_nats(folder / "nats"))
        postgres = cleanup.enter_context(running_postgres(folder / "postgres"))
        print(_HEADER, flush=True)
        for jobs in asked.jobs:
            for kind in kinds:
                found.append(_measure(kind, jobs, broker, postgres, folder, timedelta(seconds=asked.seconds)))
                print(_line(found[-1]), flush=True)
    _report(found)


def _measure(
    kind: str, jobs: int, broker: RunningNats, postgres: RunningPostgres, folder: Path, duration: timedelta
) -> Figures:
    broker.loop.run(reset_bus(broker))
    with fresh_database(postgres) as database:
        migrate_up(MIGRATIONS, database_url=SecretStr(database.url("deployer")))
        run = _Run(kind, jobs, broker=broker, database=database, folder=folder, duration=duration)
        return asyncio.run(run.figures(postgres))


class _Run:
    def __init__(
        self, kind: str, jobs: int, *, broker: RunningNats, database: TestDatabase, folder: Path, duration: timedelta
    ) -> None:
        self._kind = kind
        self._jobs = jobs
        self._broker = broker
        self._database = database
        self._folder = folder
        self._duration = duration

    async def figures(self, postgres: RunningPostgres) -> Figures:
        url = self._database.url("deployer", driver="postgresql")
        job_ids = await store_jobs(url, self._jobs, spread=timedelta(seconds=RIVAL_TICK_SECONDS))
        names = self._folder / "names"
        names.write_text("\n".join(f"{job_id}-1" for job_id in job_ids))
        pods = Pods(self._broker, job_ids)
        await pods.start()
        async with AsyncExitStack() as cleanup:
            cleanup.push_async_callback(pods.stop)
            children = [await cleanup.enter_async_context(_Child(self._command(names), self._environment()))]
            children += [
                await cleanup.enter_async_context(_Child(self._command(names), self._environment()))
                for _ in range(PROCESSES - 1)
            ]
            pace = max(LEAST_EVENTS_PER_SECOND, EVENTS_PER_JOB_AND_SECOND * self._jobs)
            await pods.speak_for(WARM_UP, per_second=pace)
            return await self._watch(pods, children, postgres, pace)

    async def _watch(self, pods: Pods, children: list["_Child"], postgres: RunningPostgres, pace: float) -> Figures:
        watched = [child.process for child in children]
        before = (_cpu(watched), _cpu(_tree(postgres.pid)), _cpu(_tree(self._broker.pid)))
        calls, questions, heard, spoken = await _calls(children), pods.questions, len(pods.lags), pods.spoken
        await pods.speak_for(self._duration, per_second=pace)
        lags, unheard = pods.lags[heard:], (pods.spoken - spoken) - (len(pods.lags) - heard)
        after = (_cpu(watched), _cpu(_tree(postgres.pid)), _cpu(_tree(self._broker.pid)))
        job_minutes = self._jobs * self._duration.total_seconds() / 60
        deployer, database, nats = (_used(now, then) / job_minutes for now, then in zip(after, before, strict=True))
        cuts = statistics.quantiles(lags or [float("inf")] * 2, n=20)
        return Figures(
            kind=self._kind,
            jobs=self._jobs,
            deployer_cpu=deployer,
            postgres_cpu=database,
            nats_cpu=nats,
            memory_mib=sum(process.memory_info().rss for process in watched) / 2**20,
            lag_p50=cuts[9],
            lag_p95=cuts[18],
            unheard=max(unheard, 0),
            provider_calls=(await _calls(children) - calls) / job_minutes,
            looks=(pods.questions - questions) / job_minutes,
        )

    def _command(self, names: Path) -> tuple[str, ...]:
        if self._kind == "ours":
            return ("benchmarks.reconcile.deployer", str(names))
        url, seed = self._database.url("deployer", driver="postgresql"), self._broker.seed_files["deployer"]
        return ("benchmarks.reconcile.rival", url, self._broker.url, str(seed), str(RIVAL_TICK_SECONDS), str(names))

    def _environment(self) -> dict[str, str]:
        values = {
            "NATS_URL": self._broker.url,
            "NATS_SEED_FILE": str(self._broker.seed_files["deployer"]),
            "DATABASE_URL": self._database.url("deployer"),
            "PORT": "20000",
            "PUBLIC_URL": "http://deployer.bench",
            "METRICS_PUBLIC_URL": "http://metrics.bench",
            "GATEWAY_PUBLIC_URL": "http://gateway.bench",
            "LOG_LEVEL": "WARNING",
            "MAX_ACTIVE_JOBS": "100000",
        }
        return {**os.environ, **{f"STOKER_DEPLOYER_{name}": value for name, value in values.items()}}


class _Child:
    """A measured process; its input ends with the block, and it with that."""

    def __init__(self, arguments: tuple[str, ...], environment: dict[str, str]) -> None:
        self._arguments = arguments
        self._environment = environment

    async def __aenter__(self) -> Self:
        pipe = asyncio.subprocess.PIPE
        self._started = await asyncio.create_subprocess_exec(
            sys.executable, "-m", *self._arguments, stdin=pipe, stdout=pipe, env=self._environment
        )
        self.process = psutil.Process(self._started.pid)
        if await self._read_line() != "ready":
            raise RuntimeError(f"{self._arguments[0]} did not start")
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._started.stdin is not None
        self._started.stdin.close()
        try:
            async with asyncio.timeout(30):
                await self._started.wait()
        except TimeoutError:
            self._started.kill()
            await self._started.wait()

    async def counts(self) -> dict[str, Any]:
        """What the process counts."""
        assert self._started.stdin is not None
        self._started.stdin.write(b"counts\n")
        answer: dict[str, Any] = json.loads(await self._read_line())
        return answer

    async def _read_line(self) -> str:
        assert self._started.stdout is not None
        while True:
            line = (await self._started.stdout.readline()).decode()
            # Log lines come on the same pipe and are passed on.
            if not line or line.strip() == "ready" or not line.startswith('{"timestamp'):
                return line.strip()
            sys.stderr.write(line)


async def _calls(children: list[_Child]) -> int:
    counts = [await child.counts() for child in children]
    return sum(count for counted in counts for name, count in counted.items() if name != "looks")


def _tree(pid: int | None) -> list[psutil.Process]:
    root = psutil.Process(pid)
    return [root, *root.children(recursive=True)]


def _cpu(processes: list[psutil.Process]) -> dict[int, float]:
    found: dict[int, float] = {}
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            found[process.pid] = times.user + times.system
    return found


def _used(now: dict[int, float], then: dict[int, float]) -> float:
    # What ended in between (a connection that was given up) is left out.
    return sum(seconds - then.get(pid, 0.0) for pid, seconds in now.items())


_HEADER = (
    f"{'':<6}{'jobs':>7} | CPU ms per job-minute{'':<17} | {'RSS MiB':>8} | {'lag p50':>8} {'p95 s':>7} "
    f"{'unheard':>7} | {'calls':>7} {'looks':>6} per job-minute\n"
    f"{'':<13} | {'deployers':>10} {'postgres':>9} {'nats':>7} {'all':>8} |"
)


def _line(found: Figures) -> str:
    return (
        f"{found.kind:<6}{found.jobs:>7} | {found.deployer_cpu * 1000:>10.2f} {found.postgres_cpu * 1000:>9.2f} "
        f"{found.nats_cpu * 1000:>7.2f} {found.cpu * 1000:>8.2f} | {found.memory_mib:>8.0f} | "
        f"{found.lag_p50:>8.3f} {found.lag_p95:>7.3f} {found.unheard:>7} | "
        f"{found.provider_calls:>7.2f} {found.looks:>6.1f}"
    )


def _report(found: list[Figures]) -> None:
    ours = [figures for figures in found if figures.kind == "ours"]
    for fewer, more in itertools.pairwise(ours):
        print(
            f"growth {fewer.jobs} -> {more.jobs}: CPU in all x{more.cpu * more.jobs / (fewer.cpu * fewer.jobs):.1f}, "
            f"RSS x{more.memory_mib / fewer.memory_mib:.1f}, lag p95 x{more.lag_p95 / fewer.lag_p95:.1f}, "
            f"calls in all x{more.provider_calls * more.jobs / max(fewer.provider_calls * fewer.jobs, 1e-9):.1f}"
        )
    largest = {figures.kind: figures for figures in found if figures.jobs == found[-1].jobs}
    if len(largest) < len(KINDS):
        return
    us, them = largest["ours"], largest["rival"]
    print(
        f"bench-reconcile ratio={us.cpu / them.cpu:.3f} "
        f"(us {us.cpu * 1000:.2f} / rival {them.cpu * 1000:.2f} CPU ms per job-minute at {us.jobs} jobs; "
        f"lag p95 {us.lag_p95:.2f} s / {them.lag_p95:.2f} s)"
    )


if __name__ == "__main__":
    main()

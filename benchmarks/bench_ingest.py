"""Durable metric points per second and the time of an answer over HTTP, against MLflow's server and trackio's.

Pods post batches over kept connections, each the next one when the last was answered; a point is one number at one
step. Every server gets the same pods, in turn in the same run; at the end each is asked how many points it holds, and
the benchmark fails if that is not what it acknowledged.

    us                two processes of the metrics service, one takes and one stores; answers when the broker has synced
    us-one-process    the same in one process, as `stoker up` runs it
    mlflow            `mlflow server` on PostgreSQL
    trackio           told to sync each commit to disk, as the other three do
    trackio-unsynced  as it comes: what it answered last is lost when the machine dies; told apart, as it is not durable

    python -m benchmarks.bench_ingest [--seconds 10] [--batches 1,10,100] [--pods 1,8,64] [--only us,mlflow,trackio]
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

import uvloop

from benchmarks.ingest.load import Load, Target, run_load
from benchmarks.ingest.ours import running_ours
from benchmarks.ingest.rivals import measured_mlflow, measured_trackio
from benchmarks.rivals.environment import RIVALS_FOLDER, rival_environment

US = "us"
DURABLE_RIVALS = ("mlflow", "trackio")
RATIO_AT_BATCH = 10
WARM_UP_SECONDS = 2.0


class Server(Protocol):
    """What can be measured."""

    async def targets(self, pods: int) -> list[Target]:
        """Addresses of new pods."""
        ...

    async def stored(self, expected: int) -> int:
        """How many points it holds."""
        ...


Opened = Callable[[Path, Path], AbstractContextManager[Server]]
"""From a folder of its own and the folder of the rivals' environment to a running server."""

SERVERS: Mapping[str, Opened] = {
    US: lambda folder, _rivals: running_ours(folder, storing_apart=True),
    "us-one-process": lambda folder, _rivals: running_ours(folder, storing_apart=False),
    "mlflow": lambda folder, rivals: measured_mlflow(rival_environment(rivals), folder),
    "trackio": lambda folder, rivals: measured_trackio(rival_environment(rivals), folder, synced=True),
    "trackio-unsynced": lambda folder, rivals: measured_trackio(rival_environment(rivals), folder, synced=False),
}


class Measured:
    """Results by server, batch and pods."""

    def __init__(self) -> None:
        self.loads: dict[tuple[str, int, int], Load] = {}

    def best(self, name: str, batch: int) -> float:
        """Points per second with the number of pods that suits this server most."""
        return max((load.points_per_second for key, load in self.loads.items() if key[:2] == (name, batch)), default=0)


def main() -> int:
    """Measure and print; the last line compares the best of each at batches of 10."""
    options = _options()
    measured = Measured()
    lost = 0
    with tempfile.TemporaryDirectory(prefix="stoker-bench-") as folder:
        for name in options.only:
            lost += _measure(name, Path(folder) / name, options, measured)
    if lost:
        print(f"{lost} points were acknowledged and are not there")
    _compare(measured, RATIO_AT_BATCH if RATIO_AT_BATCH in options.batches else options.batches[0])
    return 1 if lost else 0


def _compare(measured: Measured, batch: int) -> None:
    best = {name: measured.best(name, batch) for name in SERVERS}
    durable = max(DURABLE_RIVALS, key=lambda name: best[name])
    pairs = [("us-one-process", durable), (US, "trackio-unsynced"), (US, durable)]
    for us, rival in pairs:
        if best[us] and best[rival]:
            label = "bench-ingest" if (us, rival) == pairs[-1] else f"{us} and {rival}"
            ratio = best[us] / best[rival]
            print(f"{label} ratio={ratio:.2f} (us {best[us]:.0f} points/s / rival {best[rival]:.0f} points/s, {rival})")


def _measure(name: str, folder: Path, options: argparse.Namespace, measured: Measured) -> int:
    folder.mkdir()
    with SERVERS[name](folder, options.rivals) as server:
        expected = uvloop.run(_warm_up(server))
        for batch in options.batches:
            for pods in options.pods:
                load, stored, waited = uvloop.run(_round(server, batch, pods, options.seconds, expected))
                expected += load.points
                measured.loads[name, batch, pods] = load
                _print(name, batch, pods, load, waited)
                # One for all of its rounds: what is missing now stays missing.
                if stored != expected:
                    print(f"{name}: {expected} points acknowledged, {stored} stored")
        return expected - uvloop.run(server.stored(expected))


async def _warm_up(server: Server) -> int:
    targets = await server.targets(4)
    return (await run_load(targets, first=[1] * len(targets), batch=10, seconds=WARM_UP_SECONDS)).points


async def _round(server: Server, batch: int, pods: int, seconds: float, expected: int) -> tuple[Load, int, float]:
    targets = await server.targets(pods)
    load = await run_load(targets, first=[1] * pods, batch=batch, seconds=seconds)
    ended = time.perf_counter()
    stored = await server.stored(expected + load.points)
    return load, stored, time.perf_counter() - ended


def _print(name: str, batch: int, pods: int, load: Load, waited: float) -> None:
    refused = f", refused {load.refused}" if load.refused else ""
    in_database = load.points / (load.seconds + waited)
    print(
        f"{name:16} batch {batch:4} pods {pods:3}: {load.points_per_second:9.0f} points/s acknowledged, "
        f"{in_database:9.0f} to the database, p99 {load.p99 * 1000:7.1f} ms{refused}",
        flush=True,
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each round")
    parser.add_argument("--batches", type=_numbers, default=[1, 10, 100])
    parser.add_argument("--pods", type=_numbers, default=[1, 8, 64])
    parser.add_argument("--only", type=_servers, default=list(SERVERS), help=", ".join(SERVERS))
    parser.add_argument("--rivals", type=Path, default=RIVALS_FOLDER, help="environment of the rivals; made if missing")
    return parser.parse_args()


def _servers(text: str) -> Sequence[str]:
    names = text.split(",")
    if unknown := [name for name in names if name not in SERVERS]:
        raise argparse.ArgumentTypeError(f"no such server: {', '.join(unknown)}")
    return names


def _numbers(text: str) -> Sequence[int]:
    return [int(part) for part in text.split(",")]


if __name__ == "__main__":
    sys.exit(main())

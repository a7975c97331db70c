"""Time and bytes to the first full chart of a run of a million points, against MLflow's own UI request.

Ours is one `GET /v1/jobs/{id}/chart` of all metrics through the api, NATS and the metrics service. The rival is
MLflow's tracking server on PostgreSQL with the same points, asked as its UI asks: `get-history-bulk-interval` with 1000
points for each metric (a sample of steps; ours has minimum, maximum and last of every bucket, so that no spike is
lost). Each side is asked several times by one client: the first answer, and the median, which makes the ratio.

    python -m benchmarks.bench_chart [--points 1000000] [--rounds 20] [--rivals FOLDER] [--only us,mlflow]
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import httpx

from benchmarks.chart.ours import running_ours
from benchmarks.chart.rival import running_rival
from benchmarks.rivals.environment import RIVALS_FOLDER, rival_environment


def main() -> None:
    """Measure one after the other and print the ratio of the medians."""
    options = _options()
    medians = {}
    with tempfile.TemporaryDirectory(prefix="stoker-bench-") as folder:
        if "us" in options.only:
            with running_ours(Path(folder) / "us", points=options.points) as ours:
                medians["us"] = _measure("us", ours.chart, options.rounds)
        if "mlflow" in options.only:
            programs = rival_environment(options.rivals)
            with running_rival(programs, Path(folder) / "mlflow", points=options.points) as rival:
                medians["mlflow"] = _measure("mlflow", rival.chart, options.rounds)
    if len(medians) == 2:
        us, other = medians["us"], medians["mlflow"]
        print(f"bench-chart ratio={us / other:.3f} (us {us * 1000:.0f} ms / rival {other * 1000:.0f} ms, mlflow)")


def _measure(name: str, chart: Callable[[httpx.Client], int], rounds: int) -> float:
    times = []
    with httpx.Client(timeout=300, trust_env=False) as client:
        for _ in range(rounds):
            began = time.perf_counter()
            size = chart(client)
            times.append(time.perf_counter() - began)
    median = statistics.median(times)
    print(
        f"{name:>6}: first {times[0] * 1000:.0f} ms, median {median * 1000:.0f} ms, "
        f"slowest {max(times) * 1000:.0f} ms, {size / 1000:.0f} KB",
        flush=True,
    )
    return median


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--points", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--only", type=lambda text: text.split(","), default=["us", "mlflow"])
    parser.add_argument("--rivals", type=Path, default=RIVALS_FOLDER, help="environment of the rival; made if missing")
    return parser.parse_args()


if __name__ == "__main__":
    main()

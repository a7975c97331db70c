"""MLflow's tracking server with the run in its tables.

Its points are written into its tables by COPY: through its API a million would take many minutes, and only the reading
is measured. The chart is what its own UI asks for: `get-history-bulk-interval`, once for each metric.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import httpx

from benchmarks.chart.points import METRICS, run_of
from benchmarks.rivals.mlflow import running_mlflow

MOST_POINTS = 1000
_COLUMNS = ["key", "value", "timestamp", "run_uuid", "step", "is_nan"]


@dataclass(frozen=True)
class Rival:
    """The running server with the run."""

    url: str
    run_id: str

    def chart(self, client: httpx.Client) -> int:
        """Load the chart; returns the bytes that travelled."""
        size = 0
        for metric in METRICS:
            address = f"{self.url}/ajax-api/2.0/mlflow/metrics/get-history-bulk-interval"
            wanted = {"run_ids": self.run_id, "metric_key": metric, "max_results": str(MOST_POINTS)}
            answer = client.get(address, params=wanted).raise_for_status()
            assert len(answer.json()["metrics"]) >= MOST_POINTS // 4, answer.text[:500]
            size += answer.num_bytes_downloaded
        return size


@contextmanager
def running_rival(programs: Path, folder: Path, *, points: int) -> Iterator[Rival]:
    """Its server with the run, until the block ends."""
    with running_mlflow(programs, folder) as server:
        run = httpx.post(f"{server.url}/api/2.0/mlflow/runs/create", json={"experiment_id": "0"}, timeout=60)
        run_id = run.raise_for_status().json()["run"]["info"]["run_id"]
        asyncio.run(_fill(server.database_url, run_id, points))
        yield Rival(server.url, run_id)


async def _fill(database: str, run_id: str, points: int) -> None:
    connection = await asyncpg.connect(database)
    rows = (
        (metric, value, 1_700_000_000_000 + step * 1000, run_id, step, False)
        for step, values in enumerate(run_of(points), start=1)
        for metric, value in zip(METRICS, values, strict=True)
    )
    await connection.copy_records_to_table("metrics", records=rows, columns=_COLUMNS)
    await connection.execute("ANALYZE metrics")
    await connection.close()

"""MLflow's tracking server on PostgreSQL, from a virtual environment of its own, with the run in its tables.

Its points are written into its tables by COPY: through its API a million would take many minutes, and only the reading
is measured. The chart is what its own UI asks for: `get-history-bulk-interval`, once for each metric.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import httpx

from benchmarks.chart.points import METRICS, run_of
from benchmarks.chart.processes import running_process
from stoker.stack.keys import POSTGRES_SUPERUSER
from stoker.stack.standalone import running_postgres
from tests.support.ports import free_port

REQUIREMENTS = Path(__file__).with_name("rivals.txt")
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


def rival_environment(folder: Path) -> Path:
    """The folder of programs of an environment with MLflow; made the first time, which takes some minutes."""
    programs = folder / "bin"
    if not (programs / "mlflow").exists():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        pip = [programs / "python", "-m", "pip", "--disable-pip-version-check", "install", "-qq"]
        subprocess.run([*pip, "-r", REQUIREMENTS], check=True)
    return programs


@contextmanager
def running_rival(programs: Path, folder: Path, *, points: int) -> Iterator[Rival]:
    """Its server, until the block ends."""
    folder.mkdir(parents=True)
    with running_postgres(folder / "postgres") as postgres:
        admin = postgres.url(POSTGRES_SUPERUSER, database="postgres")
        postgres.loop.run(_execute(admin, "CREATE DATABASE mlflow"))
        database = postgres.url(POSTGRES_SUPERUSER, database="mlflow")
        driven = database.replace("postgresql://", "postgresql+psycopg2://", 1)
        port = free_port()
        command = [
            str(programs / "mlflow"), "server", "--host", "127.0.0.1", "--port", str(port),
            "--workers", str(os.cpu_count() or 1), "--backend-store-uri", driven,
            "--default-artifact-root", str(folder / "artifacts"),
        ]  # fmt: skip
        more = {"PATH": f"{programs}:{os.environ['PATH']}", "MLFLOW_DISABLE_TELEMETRY": "true"}
        url = f"http://127.0.0.1:{port}"
        with running_process(command, folder, ready=f"{url}/health", more=more):
            run = httpx.post(f"{url}/api/2.0/mlflow/runs/create", json={"experiment_id": "0"}, timeout=60)
            run_id = run.raise_for_status().json()["run"]["info"]["run_id"]
            postgres.loop.run(_fill(database, run_id, points))
            yield Rival(url, run_id)


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


async def _execute(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute(statement)
    await connection.close()

"""What pods say to MLflow's tracking server and to trackio's, and how much of it those have stored.

Trackio runs as `trackio show` runs it, on its SQLite files; all pods are runs of one project. What it answered as taken
is on the disk only with `TRACKIO_SQLITE_SYNCHRONOUS=full`: its default, SQLite's `NORMAL` with a write-ahead log, syncs
at checkpoints, and the newest commits are lost when the machine dies.
"""

import json
import secrets
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import httpx

from benchmarks.ingest.load import Body, Target
from benchmarks.rivals.mlflow import MLflowServer, running_mlflow
from benchmarks.rivals.processes import running_process
from tests.support.ports import free_port


@dataclass
class MLflow:
    """`POST /api/2.0/mlflow/runs/log-batch`: one run for each pod."""

    server: MLflowServer

    async def targets(self, pods: int) -> list[Target]:
        """A new run for each pod."""
        base = f"{self.server.url}/api/2.0/mlflow"
        async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
            runs = []
            for _ in range(pods):
                answer = await client.post(f"{base}/runs/create", json={"experiment_id": "0", "start_time": 1})
                runs.append(answer.raise_for_status().json()["run"]["info"]["run_id"])
        path = "/api/2.0/mlflow/runs/log-batch"
        return [Target("127.0.0.1", self.server.port, path, _mlflow_body(run)) for run in runs]

    async def stored(self, _expected: int) -> int:
        """Rows of its table of metrics."""
        connection = await asyncpg.connect(self.server.database_url)
        try:
            return int(await connection.fetchval("SELECT count(*) FROM metrics"))
        finally:
            await connection.close()


@dataclass
class Trackio:
    """`POST /api/bulk_log`, as its client sends it."""

    port: int
    folder: Path
    token: str
    runs_made: int = 0

    async def targets(self, pods: int) -> list[Target]:
        """A new run of the same project for each pod; it is made by its first metric."""
        headers = {"x-trackio-write-token": self.token}
        made = []
        for _ in range(pods):
            self.runs_made += 1
            body = _trackio_body(f"run-{self.runs_made}")
            made.append(Target("127.0.0.1", self.port, "/api/bulk_log", body, headers))
        return made

    async def stored(self, _expected: int) -> int:
        """Rows of its table of metrics."""
        with sqlite3.connect(self.folder / "bench.db") as connection:
            return int(connection.execute("SELECT count(*) FROM metrics").fetchone()[0])


@contextmanager
def measured_mlflow(programs: Path, folder: Path) -> Iterator[MLflow]:
    """Its server, until the block ends."""
    with running_mlflow(programs, folder) as server:
        yield MLflow(server)


@contextmanager
def measured_trackio(programs: Path, folder: Path, *, synced: bool) -> Iterator[Trackio]:
    """Its server, until the block ends. `synced`: each commit is on the disk before it is answered."""
    folder.mkdir(parents=True, exist_ok=True)
    port, token, data = free_port(), secrets.token_urlsafe(32), folder / "data"
    more = {
        "TRACKIO_DIR": str(data),
        "TRACKIO_WRITE_TOKEN": token,
        "GRADIO_SERVER_PORT": str(port),
        "HF_HUB_OFFLINE": "1",
        "BROWSER": "true",
    }
    if synced:
        more["TRACKIO_SQLITE_SYNCHRONOUS"] = "full"
    command = [str(programs / "trackio"), "show", "--project", "bench", "--host", "127.0.0.1"]
    with running_process(command, folder, ready=f"http://127.0.0.1:{port}/version", more=more):
        yield Trackio(port, data, token)


def _mlflow_body(run_id: str) -> Body:
    def body(first: int, count: int) -> bytes:
        now = int(time.time() * 1000)
        metrics = ",".join(
            f'{{"key":"loss","value":{2.5 + number % 97 / 1000},"timestamp":{now},"step":{number}}}'
            for number in range(first, first + count)
        )
        return f'{{"run_id":"{run_id}","metrics":[{metrics}]}}'.encode()

    return body


def _trackio_body(run: str) -> Body:
    run_name = json.dumps(run)

    def body(first: int, count: int) -> bytes:
        entries = ",".join(
            f'{{"project":"bench","run":{run_name},"run_id":{run_name},"step":{number},"config":null,'
            f'"log_id":"{run}-{number}","metrics":{{"loss":{2.5 + number % 97 / 1000}}}}}'
            for number in range(first, first + count)
        )
        return f'{{"args":[],"kwargs":{{"logs":[{entries}],"hf_token":null}}}}'.encode()

    return body

"""MLflow's tracking server and trackio's server, each from a virtual environment of its own, as their docs start them.

MLflow on PostgreSQL (a server of the same make and settings as ours) and with as many workers as there are cores;
trackio as `trackio show` runs it, on its SQLite files, all pods as runs of one project.
"""

import json
import os
import secrets
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import httpx

from benchmarks.ingest.load import Body, Target
from stoker.stack.keys import POSTGRES_SUPERUSER
from stoker.stack.standalone import running_postgres
from tests.support.ports import free_port

REQUIREMENTS = Path(__file__).with_name("rivals.txt")
START_SECONDS = 180.0


@dataclass
class MLflow:
    """`POST /api/2.0/mlflow/runs/log-batch`: one run for each pod."""

    port: int
    database_url: str
    name: str = "mlflow"

    async def targets(self, pods: int) -> list[Target]:
        """A new run for each pod."""
        base = f"http://127.0.0.1:{self.port}/api/2.0/mlflow"
        async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
            runs = []
            for _ in range(pods):
                answer = await client.post(f"{base}/runs/create", json={"experiment_id": "0", "start_time": 1})
                runs.append(answer.raise_for_status().json()["run"]["info"]["run_id"])
        path = "/api/2.0/mlflow/runs/log-batch"
        return [Target("127.0.0.1", self.port, path, _mlflow_body(run)) for run in runs]

    async def stored(self, _expected: int) -> int:
        """Rows of its table of metrics."""
        connection = await asyncpg.connect(self.database_url)
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
    name: str = "trackio"

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


def rival_environment(folder: Path) -> Path:
    """The folder of programs of an environment with the rivals; made the first time, which takes some minutes."""
    programs = folder / "bin"
    stamp = folder / "installed.txt"
    wanted = REQUIREMENTS.read_text()
    if not stamp.exists() or stamp.read_text() != wanted:
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        pip = [programs / "python", "-m", "pip", "--disable-pip-version-check", "install", "-qq"]
        subprocess.run([*pip, "-r", REQUIREMENTS], check=True)
        stamp.write_text(wanted)
    return programs


@contextmanager
def running_mlflow(programs: Path, folder: Path) -> Iterator[MLflow]:
    """Its server, until the block ends."""
    with running_postgres(folder / "postgres") as postgres:
        admin = postgres.url(POSTGRES_SUPERUSER, database="postgres")
        postgres.loop.run(_create_database(admin))
        uri = postgres.url(POSTGRES_SUPERUSER, database="mlflow", driver="postgresql+psycopg2")
        port = free_port()
        command = [
            str(programs / "mlflow"), "server", "--host", "127.0.0.1", "--port", str(port),
            "--workers", str(os.cpu_count() or 1), "--backend-store-uri", uri,
            "--default-artifact-root", str(folder / "artifacts"),
        ]  # fmt: skip
        # Its job runners would take processor time from it.
        more = {"PATH": f"{programs}:{os.environ['PATH']}", "MLFLOW_DISABLE_TELEMETRY": "true"}
        more["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"
        with _running(command, folder=folder, ready=f"http://127.0.0.1:{port}/health", more=more):
            yield MLflow(port, postgres.url(POSTGRES_SUPERUSER, database="mlflow"))


@contextmanager
def running_trackio(programs: Path, folder: Path) -> Iterator[Trackio]:
    """Its server, until the block ends."""
    folder.mkdir(parents=True, exist_ok=True)
    port, token, data = free_port(), secrets.token_urlsafe(32), folder / "data"
    more = {
        "TRACKIO_DIR": str(data),
        "TRACKIO_WRITE_TOKEN": token,
        "GRADIO_SERVER_PORT": str(port),
        "HF_HUB_OFFLINE": "1",
        "BROWSER": "true",
    }
    command = [str(programs / "trackio"), "show", "--project", "bench", "--host", "127.0.0.1"]
    with _running(command, folder=folder, ready=f"http://127.0.0.1:{port}/version", more=more):
        yield Trackio(port, data, token)


@contextmanager
def _running(command: list[str], *, folder: Path, ready: str, more: dict[str, str]) -> Iterator[None]:
    log_file = folder / "server.log"
    with log_file.open("wb") as log:
        # A session of its own: MLflow's workers end with their parent's group.
        process = subprocess.Popen(
            command, cwd=folder, env={**os.environ, **more}, stdout=log, stderr=log, start_new_session=True
        )
    try:
        _until_ready(process, ready, log_file)
        yield
    finally:
        _end(process)


def _end(process: "subprocess.Popen[bytes]") -> None:
    for signum in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is not None:
            return
        os.killpg(process.pid, signum)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            continue


def _until_ready(process: "subprocess.Popen[bytes]", url: str, log_file: Path) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        try:
            if httpx.get(url, timeout=5, trust_env=False).is_success:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.2)
    raise RuntimeError(f"{process.args!r} did not become ready:\n{log_file.read_text()[-3000:]}")


async def _create_database(admin_url: str) -> None:
    connection = await asyncpg.connect(admin_url)
    try:
        await connection.execute("CREATE DATABASE mlflow")
    finally:
        await connection.close()


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

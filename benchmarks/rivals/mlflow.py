"""MLflow's tracking server on PostgreSQL (a server of the same make and settings as ours), a worker for each core."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from benchmarks.rivals.processes import running_process
from stoker.stack.keys import POSTGRES_SUPERUSER
from stoker.stack.standalone import running_postgres
from tests.support.ports import free_port


@dataclass(frozen=True)
class MLflowServer:
    """A running server. `database_url` is for looking into its tables."""

    port: int
    database_url: str

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def running_mlflow(programs: Path, folder: Path) -> Iterator[MLflowServer]:
    """Its server with an empty database, until the block ends."""
    folder.mkdir(parents=True, exist_ok=True)
    with running_postgres(folder / "postgres") as postgres:
        postgres.loop.run(_create_database(postgres.url(POSTGRES_SUPERUSER, database="postgres")))
        port = free_port()
        server = MLflowServer(port, postgres.url(POSTGRES_SUPERUSER, database="mlflow"))
        command: list[str | Path] = [
            programs / "mlflow", "server", "--host", "127.0.0.1", "--port", str(port),
            "--workers", str(os.cpu_count() or 1), "--default-artifact-root", folder / "artifacts",
            "--backend-store-uri", postgres.url(POSTGRES_SUPERUSER, database="mlflow", driver="postgresql+psycopg2"),
        ]  # fmt: skip
        # Its job runners would take processor time from it.
        more = {
            "PATH": f"{programs}:{os.environ['PATH']}",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        }
        with running_process(command, folder, ready=f"{server.url}/health", more=more):
            yield server


async def _create_database(admin_url: str) -> None:
    connection = await asyncpg.connect(admin_url)
    try:
        await connection.execute("CREATE DATABASE mlflow")
    finally:
        await connection.close()

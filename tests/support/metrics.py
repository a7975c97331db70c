"""The metrics service for tests: in this process, or as one of its own that can be killed."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import httpx

from stoker.stack.standalone import RunningNats
from stoker_metrics.main import build
from stoker_metrics.settings import MetricsSettings
from stoker_shared.bus import Bus, RpcClient
from stoker_shared.clock import Clock, ManualClock
from stoker_shared.rpc.dataset_gateway import RevokeAttempt
from stoker_shared.rpc.metrics import ADMIT, REPORT, REVOKE, AdmitAttempt, AttemptReport, ReportRequest
from stoker_shared.settings import read_settings
from stoker_shared.tokens import mint_token, token_hash
from tests.support.bus import bus_of, started, until
from tests.support.servers import TestDatabase

JOB = "job-00000000000000aa"
OWNER = "user-0000000000000001"
AT = "2026-11-22T10:00:00+00:00"


def environment(nats: RunningNats, database_url: str, *, port: int = 20_001, **more: str) -> dict[str, str]:
    """The settings of the service."""
    settings = {
        "NATS_URL": nats.url,
        "NATS_SEED_FILE": str(nats.seed_files["metrics"]),
        "DATABASE_URL": database_url,
        "PORT": str(port),
        "PUBLIC_URL": f"http://127.0.0.1:{port}",
        # Nobody is there; a test that packs lines names a real store.
        "S3_ENDPOINT": "127.0.0.1:9",
        "S3_ACCESS_KEY": "nobody",
        "S3_SECRET_KEY": "nobody",
        **more,
    }
    return {f"STOKER_METRICS_{name}": value for name, value in settings.items()}


@asynccontextmanager
async def metrics_service(variables: Mapping[str, str], *, clock: Clock) -> AsyncIterator[httpx.AsyncClient]:
    """The service in this process, and a client of it."""
    application = build(read_settings(MetricsSettings, variables), clock=clock)
    async with (
        application.router.lifespan_context(application),
        httpx.AsyncClient(transport=httpx.ASGITransport(application), base_url="http://metrics") as client,
    ):
        yield client


class ControlPlane:
    """What the deployer and the api ask of the metrics service."""

    def __init__(self, deployer: Bus, api: Bus) -> None:
        self.deployer = RpcClient(deployer)
        self.api = RpcClient(api)

    async def admit(
        self,
        *,
        job_id: str = JOB,
        attempt: int = 1,
        owner: str = OWNER,
        expires_at: datetime | None = None,
        token: str | None = None,
    ) -> str:
        """Admit an attempt; returns the job token."""
        plain = token or mint_token().get_secret_value()
        await self.deployer.ask(
            ADMIT,
            AdmitAttempt(
                job_id=job_id,
                attempt=attempt,
                owner=owner,
                job_token_sha256=token_hash(plain),
                expires_at=expires_at or datetime.now(UTC) + timedelta(hours=2),
            ),
        )
        return plain

    async def revoke(self, *, job_id: str = JOB, attempt: int = 1) -> None:
        """End an attempt."""
        await self.deployer.ask(REVOKE, RevokeAttempt(job_id=job_id, attempt=attempt))


@asynccontextmanager
async def control_plane(nats: RunningNats) -> AsyncIterator[ControlPlane]:
    """Connected as deployer and api."""
    async with started(bus_of(nats, "deployer")) as deployer, started(bus_of(nats, "api")) as api:
        yield ControlPlane(deployer, api)


class MetricsProcess:
    """The service as a process. `module` may be a wrapper that misbehaves. `niceness`: how far it gives way."""

    def __init__(
        self, variables: Mapping[str, str], log_file: Path, *, module: str = "stoker_metrics", niceness: int = 0
    ) -> None:
        self._variables = dict(variables)
        self._log_file = log_file
        self._command = ["nice", "-n", str(niceness), sys.executable, "-m", module, "serve"]
        self.url = variables["STOKER_METRICS_PUBLIC_URL"]
        self.process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        """Start, and return when it is ready."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("STOKER_")}
        with self._log_file.open("ab") as log:
            self.process = subprocess.Popen(  # noqa: ASYNC220 - it must outlive this loop
                self._command, env=kept | self._variables, stdout=log, stderr=log
            )
        end = time.monotonic() + 90
        async with httpx.AsyncClient(trust_env=False) as client:
            while not await self._is_ready(client):
                assert self.process.poll() is None, self._log_file.read_text()[-3000:]
                assert time.monotonic() < end, self._log_file.read_text()[-3000:]
                await asyncio.sleep(0.1)

    def kill(self) -> None:
        """SIGKILL."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """SIGTERM; returns the exit code."""
        return self._end(signal.SIGTERM)

    async def ended(self) -> int:
        """Wait for an end of its own; returns the exit code."""
        assert self.process is not None
        return await asyncio.to_thread(self.process.wait, 30)

    def _end(self, signum: int) -> int:
        if self.process is None:
            return 0
        if self.process.poll() is None:
            self.process.send_signal(signum)
        return self.process.wait(30)

    async def _is_ready(self, client: httpx.AsyncClient) -> bool:
        try:
            return (await client.get(f"{self.url}/readyz")).status_code == 200
        except httpx.HTTPError:
            return False


@dataclass
class World:
    """The service, a pod's connection to it, those who ask it, and its tables."""

    http: httpx.AsyncClient
    plane: ControlPlane
    clock: ManualClock
    database: TestDatabase

    async def post(self, kind: str, body: Any, token: str, *, job_id: str = JOB) -> httpx.Response:
        """Report as a pod does."""
        return await self.http.post(f"/v1/jobs/{job_id}/{kind}", json=body, headers=bearer(token))

    async def rows(self, query: str, *values: Any) -> list[asyncpg.Record]:
        """Look into the service's tables."""
        connection = await asyncpg.connect(self.database.url("metrics", driver="postgresql"))
        try:
            return list(await connection.fetch(query, *values))
        finally:
            await connection.close()

    async def until_rows(self, query: str, *values: Any, count: int = 1) -> list[asyncpg.Record]:
        """Wait until the query has that many rows."""

        async def enough() -> list[asyncpg.Record] | None:
            found = await self.rows(query, *values)
            return found if len(found) == count else None

        return await until(enough, what=query) or []

    async def report(self, *, job_id: str = JOB, attempt: int = 1) -> AttemptReport:
        """What the deployer is told."""
        return await self.plane.deployer.ask(REPORT, ReportRequest(job_id=job_id, attempt=attempt))


def bearer(token: str) -> dict[str, str]:
    """The header with a token."""
    return {"Authorization": f"Bearer {token}"}


def points(*sequences: int, attempt: int = 1, step_of: int = 10, **values: Any) -> dict[str, Any]:
    """A metrics report; the step is ten times the sequence."""
    return {
        "attempt": attempt,
        "points": [
            {"sequence": n, "step": n * step_of, "at": AT, "values": values or {"loss": 1 / (n or 1)}}
            for n in sequences
        ],
    }


def lines(*sequences: int, attempt: int = 1, text: str = "") -> dict[str, Any]:
    """A log report."""
    return {
        "attempt": attempt,
        "lines": [{"sequence": n, "at": AT, "stream": "stdout", "text": text or f"line {n}"} for n in sequences],
    }


def heartbeat(sequence: int, phase: str = "training", *, attempt: int = 1, **fields: Any) -> dict[str, Any]:
    """A heartbeat."""
    return {"attempt": attempt, "sequence": sequence, "at": AT, "phase": phase, **fields}


def alert(sequence: int, *, attempt: int = 1, **fields: Any) -> dict[str, Any]:
    """An alert."""
    known = {"level": "warning", "code": "loss_spike", "message": "The loss rose."}
    return {"attempt": attempt, "sequence": sequence, "at": AT, **known, **fields}


def ending(*, attempt: int = 1, sequence: int = 1, **fields: Any) -> dict[str, Any]:
    """An exit report."""
    known = {
        "exit_code": 0,
        "reason": "success",
        "message": "training finished",
        "last_lines": ["almost", "done"],
        "summary": {"train_loss": 0.5, "steps": 30},
    }
    return {"attempt": attempt, "sequence": sequence, "at": AT, **known, **fields}

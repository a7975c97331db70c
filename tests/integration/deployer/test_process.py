"""The process: migrations up and down, settings, start and stop."""

import asyncio
import os
import signal
import subprocess
import sys
from typing import Any

import asyncpg
import httpx
import pytest
from pydantic import SecretStr

from stoker.stack.standalone import RunningNats
from stoker_deployer import MIGRATIONS
from stoker_deployer.jobs.tables import Table
from stoker_deployer.ledger.tables import LedgerEntry
from stoker_shared.database import migrate_down, migrate_up
from stoker_shared.job_state import JobStatus
from tests.integration.deployer.world import FAST, World
from tests.support.ports import free_port
from tests.support.servers import TestDatabase


async def _columns(database: TestDatabase) -> dict[str, set[str]]:
    connection = await asyncpg.connect(database.url("deployer", driver="postgresql"))
    try:
        rows = await connection.fetch(
            "SELECT table_name, column_name, is_nullable FROM information_schema.columns "
            "WHERE table_schema = current_schema() AND table_name <> 'alembic_version'"
        )
    finally:
        await connection.close()
    found: dict[str, set[str]] = {}
    for row in rows:
        found.setdefault(row["table_name"], set()).add(f"{row['column_name']} {row['is_nullable']}")
    return found


async def test_migrations_go_up_down_and_up_again(database: TestDatabase) -> None:
    url = SecretStr(database.url("deployer"))
    await asyncio.to_thread(migrate_up, MIGRATIONS, database_url=url)
    first = await _columns(database)
    await asyncio.to_thread(migrate_down, MIGRATIONS, database_url=url)
    assert await _columns(database) == {}
    await asyncio.to_thread(migrate_up, MIGRATIONS, database_url=url)
    assert await _columns(database) == first
    assert {"jobs", "attempts", "cancellations", "ledger_entries", "outbox", "processed"} <= set(first)


async def test_tables_and_migrations_agree(database: TestDatabase) -> None:
    await asyncio.to_thread(migrate_up, MIGRATIONS, database_url=SecretStr(database.url("deployer")))
    migrated = await _columns(database)
    assert LedgerEntry.metadata is Table.metadata
    for table in Table.metadata.sorted_tables:
        declared = {f"{column.name} {'YES' if column.nullable else 'NO'}" for column in table.columns}
        assert migrated[table.name] == declared, table.name


def _environment(nats: RunningNats, database: TestDatabase, port: int, **changes: str) -> dict[str, str]:
    own = {
        "NATS_URL": nats.url,
        "NATS_SEED_FILE": str(nats.seed_files["deployer"]),
        "DATABASE_URL": database.url("deployer"),
        "PORT": str(port),
        "PUBLIC_URL": f"http://127.0.0.1:{port}",
        "METRICS_PUBLIC_URL": "http://metrics.test",
        "GATEWAY_PUBLIC_URL": "http://gateway.test",
        **FAST,
        **changes,
    }
    return {**os.environ, **{f"STOKER_DEPLOYER_{name}": value for name, value in own.items() if value}}


def _run(environment: dict[str, str], *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "stoker_deployer", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


async def test_the_process_migrates_serves_and_ends_on_sigterm(clean_bus: RunningNats, database: TestDatabase) -> None:
    port = free_port()
    environment = _environment(clean_bus, database, port)
    migrated = await asyncio.to_thread(_run, environment, "migrate")
    assert migrated.returncode == 0, migrated.stderr
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "stoker_deployer", "serve", env=environment, stderr=subprocess.PIPE
    )
    try:
        ready = await _until_ready(port)
        assert ready["checks"] == {"postgres": True, "nats": True}
    finally:
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(30):
            _, log = await process.communicate()
    assert process.returncode in (0, -signal.SIGTERM), log.decode()
    assert b"Traceback" not in log


async def _until_ready(port: int) -> dict[str, Any]:
    async with asyncio.timeout(40), httpx.AsyncClient(trust_env=False) as client:
        while True:
            try:
                answer = await client.get(f"http://127.0.0.1:{port}/readyz")
            except httpx.TransportError:
                await asyncio.sleep(0.1)
                continue
            if answer.status_code == 200:
                body: dict[str, Any] = answer.json()
                return body


@pytest.mark.parametrize("missing", ["METRICS_PUBLIC_URL", "NATS_URL"])
async def test_a_missing_setting_is_named_and_nothing_starts(
    nats_server: RunningNats, database: TestDatabase, missing: str
) -> None:
    environment = _environment(nats_server, database, free_port())
    del environment[f"STOKER_DEPLOYER_{missing}"]
    ended = await asyncio.to_thread(_run, environment, "serve")
    assert ended.returncode == 2
    assert f"STOKER_DEPLOYER_{missing}" in ended.stderr
    assert "Traceback" not in ended.stderr


async def test_secrets_that_cannot_be_sealed_anew_are_told_with_what_to_do(
    nats_server: RunningNats, database: TestDatabase
) -> None:
    ended = await asyncio.to_thread(_run, _environment(nats_server, database, free_port()), "reseal-secrets")
    assert ended.returncode == 1
    assert "the vault" in ended.stderr
    assert "STOKER_DEPLOYER_VAULT_KEY_FILE" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert ended.stdout == ""


async def test_a_stop_lets_a_running_step_end(world: World) -> None:
    # On a busy machine a step takes its time; leases are not renewed while a deployer stops.
    deployer = await world.start_deployer(LEASE="60", STOP_GRACE="30")
    world.peers.gates.close("mint")
    job_id = (await world.launch()).job_id
    await world.peers.gates.reached("mint")
    await world.until(job_id, JobStatus.PROVISIONING)
    stopping = asyncio.create_task(deployer.stop())
    await asyncio.sleep(0.2)
    world.peers.gates.open("mint")
    await stopping
    world.deployers.remove(deployer)
    row = await world.row(job_id)
    assert (row["status"], row["lock_token"]) == ("starting", None)

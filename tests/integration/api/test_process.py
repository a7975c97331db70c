"""The api as a process: migrate, serve, be ready, end when told."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx

from stoker.stack.standalone import RunningNats, RunningPostgres
from stoker_shared.tokens import token_hash
from tests.support.bus import until
from tests.support.ports import free_port
from tests.support.servers import TestDatabase

KEY = "stk_" + "A" * 43
COMMAND = [sys.executable, "-m", "stoker_api"]


def environment(nats: RunningNats, database: TestDatabase, port: int) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "STOKER_API_NATS_URL": nats.url,
        "STOKER_API_NATS_SEED_FILE": str(nats.seed_files["api"]),
        "STOKER_API_DATABASE_URL": database.url("api"),
        "STOKER_API_PORT": str(port),
        "STOKER_API_PUBLIC_URL": f"http://127.0.0.1:{port}",
        "STOKER_API_BOOTSTRAP_KEY_SHA256": token_hash(KEY),
    }


async def test_the_process_migrates_serves_and_ends_at_a_signal(clean_bus: RunningNats, database: TestDatabase) -> None:
    port = free_port()
    settings = environment(clean_bus, database, port)
    migrated = await asyncio.to_thread(subprocess.run, [*COMMAND, "migrate"], env=settings, timeout=60, check=False)
    assert migrated.returncode == 0
    process = await asyncio.create_subprocess_exec(*COMMAND, "serve", env=settings, stderr=subprocess.PIPE)
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as http:
            await until(lambda: is_ready(http), within=60, what="the api is ready")
            me = await http.get("/v1/me", headers={"Authorization": f"Bearer {KEY}"})
            assert me.json().get("is_admin") is True, me.text
        process.send_signal(signal.SIGTERM)
        _, errors = await asyncio.wait_for(process.communicate(), timeout=30)
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode in (0, -signal.SIGTERM)
    assert KEY.encode() not in errors
    assert b"Traceback" not in errors


async def test_a_start_waits_for_a_database_that_is_not_there_yet(
    clean_bus: RunningNats, postgres: RunningPostgres, api_database: TestDatabase, tmp_path: Path
) -> None:
    port, log = free_port(), tmp_path / "api.log"
    settings = environment(clean_bus, api_database, port)
    postgres.kill()
    with log.open("wb") as errors:
        process = await asyncio.create_subprocess_exec(*COMMAND, "serve", env=settings, stderr=errors, stdout=errors)
    try:
        await until(lambda: says(log, b"PostgreSQL does not answer"), within=60, what="the api waits")
        postgres.start()
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as http:
            await until(lambda: is_ready(http), within=60, what="the api is ready")
        assert process.returncode is None
    finally:
        process.kill()
        await process.wait()


async def test_a_new_user_gets_a_key_that_works(clean_bus: RunningNats, api_database: TestDatabase) -> None:
    settings = environment(clean_bus, api_database, free_port())
    added = await asyncio.to_thread(
        subprocess.run, [*COMMAND, "add-user", "bob"], env=settings, timeout=60, check=False, capture_output=True
    )
    user_id, key = added.stdout.decode().split()
    assert user_id.startswith("usr-")
    assert key.startswith("stk_")


def test_a_missing_setting_stops_the_start_with_its_name() -> None:
    ended = subprocess.run(
        [*COMMAND, "serve"], env={"PATH": os.environ["PATH"]}, capture_output=True, timeout=60, check=False
    )
    assert ended.returncode == 2
    assert b"STOKER_API_DATABASE_URL" in ended.stderr
    assert b"Traceback" not in ended.stderr


async def is_ready(http: httpx.AsyncClient) -> bool:
    try:
        return (await http.get("/readyz")).status_code == 200
    except httpx.TransportError:
        return False


async def says(log: Path, words: bytes) -> bool:
    return words in await asyncio.to_thread(log.read_bytes)

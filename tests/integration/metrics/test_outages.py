"""Broker, database and the service itself go away at the worst moments: nothing is lost, nothing counts twice."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import asyncpg
import httpx
import pytest
from nats.js.api import ConsumerConfig

from stoker.stack.standalone import RunningNats, RunningPostgres
from stoker_shared.errors import ServiceUnavailable
from tests.support.bus import kill, raw_client, start, stored, until
from tests.support.metrics import (
    JOB,
    ControlPlane,
    MetricsProcess,
    World,
    bearer,
    control_plane,
    ending,
    heartbeat,
    lines,
    points,
)
from tests.support.ports import free_port
from tests.support.servers import TestDatabase


async def answer_is(world: World, kind: str, body: object, token: str, status: int) -> bool:
    return (await world.post(kind, body, token)).status_code == status


async def test_while_the_broker_is_away_a_report_is_503_and_sent_again_it_counts_once(
    world: World, token: str, clean_bus: RunningNats
) -> None:
    assert (await world.post("metrics", points(1), token)).status_code == 202
    await kill(clean_bus)
    refused = await world.post("metrics", points(2, 3), token)
    assert refused.status_code == 503
    assert refused.headers["Retry-After"] == "2"
    assert refused.json()["code"] == "broker_unavailable"
    await start(clean_bus)
    await until(lambda: answer_is(world, "metrics", points(2, 3), token, 202))
    assert (await world.post("metrics", points(2, 3), token)).status_code == 202
    assert len(await stored(clean_bus, "TELEMETRY")) == 2
    await world.until_rows("SELECT * FROM points", count=3)


async def test_a_report_whose_acknowledgement_was_lost_counts_once(
    world: World, token: str, clean_bus: RunningNats
) -> None:
    assert (await world.post("heartbeat", heartbeat(1), token)).status_code == 202  # the token is remembered now
    pid = clean_bus.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        assert (await world.post("metrics", points(1), token)).status_code == 503
    finally:
        os.kill(pid, signal.SIGCONT)
    await until(lambda: answer_is(world, "metrics", points(1), token, 202))
    assert len(await stored(clean_bus, "TELEMETRY")) == 2
    await world.until_rows("SELECT * FROM points", count=1)


async def test_while_the_broker_answers_slowly_other_reports_are_told_to_wait(
    world: World, token: str, clean_bus: RunningNats
) -> None:
    assert (await world.post("heartbeat", heartbeat(1), token)).status_code == 202
    pid = clean_bus.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        waiting = asyncio.create_task(world.post("metrics", points(1), token))
        refused = await until(lambda: _answered_at_once(world, token), what="a pod to be told to wait")
        assert refused.status_code == 429
        assert "has not acknowledged" in refused.json()["detail"]
        assert int(refused.headers["Retry-After"]) >= 1
    finally:
        os.kill(pid, signal.SIGCONT)
    assert (await waiting).status_code in {202, 503}
    await until(lambda: answer_is(world, "metrics", points(1, 2), token, 202))
    await world.until_rows("SELECT * FROM points", count=2)


async def _answered_at_once(world: World, token: str) -> httpx.Response | None:
    try:
        async with asyncio.timeout(0.2):
            return await world.post("metrics", points(2), token)
    except TimeoutError:
        return None


async def test_while_the_database_is_away_reports_are_taken_and_stored_afterwards(
    world: World, token: str, postgres: RunningPostgres
) -> None:
    assert (await world.post("metrics", points(1), token)).status_code == 202
    await world.until_rows("SELECT * FROM points")
    await asyncio.to_thread(postgres.kill)
    world.clock.advance(timedelta(seconds=30))  # what is known of the token is no longer fresh
    for number in range(2, 6):
        assert (await world.post("metrics", points(number), token)).status_code == 202
        assert (await world.post("logs", lines(number), token)).status_code == 202
    unknown = await world.post("metrics", points(9), "x" * 43)
    assert unknown.status_code == 503, "nobody can tell whether this token is good"
    with pytest.raises(ServiceUnavailable):
        await world.report()
    await asyncio.to_thread(postgres.start)
    await world.until_rows("SELECT * FROM points", count=5)
    await world.until_rows("SELECT * FROM log_lines", count=4)


async def test_after_an_outage_of_the_database_a_silent_pod_gets_time_to_be_heard(
    world: World, token: str, postgres: RunningPostgres
) -> None:
    assert (await world.post("heartbeat", heartbeat(1), token)).status_code == 202
    await world.until_rows("SELECT * FROM attempt_reports WHERE heartbeat_sequence = 1")
    await asyncio.to_thread(postgres.kill)
    world.clock.advance(timedelta(minutes=20))
    assert (await world.post("heartbeat", heartbeat(2), token)).status_code == 503  # too long for the token's memory
    await asyncio.to_thread(postgres.start)
    await world.until_rows("SELECT 1")
    with pytest.raises(ServiceUnavailable, match="could not hear"):
        await world.report()
    world.clock.advance(timedelta(minutes=1))
    assert (await world.report()).last_heard_at is not None


@pytest.fixture
async def plane(clean_bus: RunningNats) -> AsyncIterator[ControlPlane]:
    """Deployer and api; redelivery after two seconds instead of thirty."""
    async with raw_client(clean_bus, "topology") as client:
        config = ConsumerConfig(durable_name="metrics_store", filter_subject="tel.>", ack_wait=2, max_ack_pending=2048)
        await client.jetstream().add_consumer("TELEMETRY", config)
    async with control_plane(clean_bus) as connected:
        yield connected


@pytest.fixture
def process_variables(metrics_variables: dict[str, str]) -> dict[str, str]:
    """Settings of a service on a port of its own."""
    port = str(free_port())
    return metrics_variables | {
        "STOKER_METRICS_PORT": port,
        "STOKER_METRICS_PUBLIC_URL": f"http://127.0.0.1:{port}",
    }


async def count(database: TestDatabase, query: str) -> int:
    connection = await asyncpg.connect(database.url("metrics", driver="postgresql"))
    try:
        return int(await connection.fetchval(query))
    finally:
        await connection.close()


async def report_everything(url: str, token: str) -> None:
    async with httpx.AsyncClient(base_url=url, headers=bearer(token), trust_env=False) as client:
        for kind, body in (
            ("metrics", points(1, 2)),
            ("logs", lines(1, 2, 3)),
            ("heartbeat", heartbeat(1, "saving")),
            ("exit", ending()),
        ):
            assert (await client.post(f"/v1/jobs/{JOB}/{kind}", json=body)).status_code == 202


async def everything_is_stored_once(database: TestDatabase, clean_bus: RunningNats) -> bool:
    return (
        await count(database, "SELECT count(*) FROM points") == 2
        and await count(database, "SELECT count(*) FROM log_lines") == 3
        and await count(database, "SELECT count(*) FROM attempt_reports WHERE exit_facts IS NOT NULL") == 1
        and await count(database, "SELECT count(*) FROM outbox WHERE published_at IS NULL") == 0
        and len(await stored(clean_bus, "EVENTS")) == 2
        and await nothing_is_pending(clean_bus)
    )


async def nothing_is_pending(server: RunningNats) -> bool:
    async with raw_client(server, "topology") as client:
        info = await client.jetstream().consumer_info("TELEMETRY", "metrics_store")
        return info.num_pending == 0 and info.num_ack_pending == 0


async def test_killed_between_commit_and_acknowledgement_it_stores_everything_once(
    plane: ControlPlane,
    process_variables: dict[str, str],
    metrics_database: TestDatabase,
    clean_bus: RunningNats,
    tmp_path: Path,
) -> None:
    good = MetricsProcess(process_variables, tmp_path / "metrics.log")
    doomed = MetricsProcess(
        process_variables, tmp_path / "metrics.log", module="tests.support.metrics_killed_after_commit"
    )
    try:
        await doomed.start()
        token = await plane.admit()
        async with httpx.AsyncClient(trust_env=False) as client:
            answer = await client.post(f"{doomed.url}/v1/jobs/{JOB}/metrics", json=points(1, 2), headers=bearer(token))
        assert answer.status_code == 202
        assert await doomed.ended() == -signal.SIGKILL
        assert await count(metrics_database, "SELECT count(*) FROM points") == 2, "committed"
        assert not await nothing_is_pending(clean_bus), "and not acknowledged"
        await good.start()
        await report_everything(good.url, token)
        await until(lambda: everything_is_stored_once(metrics_database, clean_bus))
    finally:
        doomed.kill()
        good.kill()


async def test_killed_between_the_answer_and_the_commit_it_stores_everything_once(
    plane: ControlPlane,
    process_variables: dict[str, str],
    metrics_database: TestDatabase,
    clean_bus: RunningNats,
    tmp_path: Path,
) -> None:
    service = MetricsProcess(process_variables, tmp_path / "metrics.log")
    blocker = await asyncpg.connect(metrics_database.url("metrics", driver="postgresql"))
    try:
        await service.start()
        token = await plane.admit()
        async with blocker.transaction():
            await blocker.execute("LOCK TABLE points, log_lines IN EXCLUSIVE MODE")
            await report_everything(service.url, token)
            service.kill()
        assert await count(metrics_database, "SELECT count(*) FROM points") == 0
        await service.start()
        await until(lambda: everything_is_stored_once(metrics_database, clean_bus))
    finally:
        service.kill()
        await blocker.close()


async def test_it_stops_in_order_and_answers_large_bodies_over_a_real_socket(
    plane: ControlPlane, process_variables: dict[str, str], tmp_path: Path
) -> None:
    service = MetricsProcess(process_variables, tmp_path / "metrics.log")
    try:
        await service.start()
        token = await plane.admit()
        async with httpx.AsyncClient(base_url=service.url, headers=bearer(token), trust_env=False) as client:
            for size in (600_000, 5_000_000):
                answer = await client.post(f"/v1/jobs/{JOB}/logs", content=b"x" * size)
                assert answer.status_code == 413
            openapi = (await client.get("/openapi.json")).json()
    finally:
        status = service.stop()
    assert status in {0, -signal.SIGTERM}, "ended in order; the signal is passed on at the very end"
    body = openapi["paths"]["/v1/jobs/{job_id}/heartbeat"]["post"]["requestBody"]["content"]["application/json"]
    assert body["schema"]["properties"]["phase"]["enum"] == ["preparing", "training", "saving"]
    log = (tmp_path / "metrics.log").read_text()
    assert token not in log
    assert "Traceback" not in log


def test_without_its_settings_it_ends_and_names_them(tmp_path: Path) -> None:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("STOKER_")}
    ended = subprocess.run(
        [sys.executable, "-m", "stoker_metrics", "serve"],
        env=clean | {"STOKER_METRICS_TOKEN_LIST_EVERY": "-1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 2
    assert "STOKER_METRICS_DATABASE_URL" in ended.stderr
    assert "STOKER_METRICS_TOKEN_LIST_EVERY" in ended.stderr
    assert "Traceback" not in ended.stderr

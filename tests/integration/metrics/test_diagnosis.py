"""From reports and the deployer's word of an end to a diagnosis: with all the evidence, stored and told once."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest
from pydantic import SecretStr

from stoker.stack.standalone import RunningNats
from stoker_metrics.diagnosis.subscribers import CONSUMER
from stoker_metrics.packing.service import Packer
from stoker_shared.database import Database
from stoker_shared.errors import RemoteRefusal
from stoker_shared.events import JobCompleted, JobEvent, JobFailed, JobRequeued
from stoker_shared.job_state import EndReason, JobStatus
from stoker_shared.rpc.diagnosis import DIAGNOSIS, Diagnosis, DiagnosisQuery
from tests.support.bus import bus_of, raw_client, started, stored, until
from tests.support.metrics import (
    AT,
    JOB,
    OWNER,
    ControlPlane,
    MetricsProcess,
    World,
    bearer,
    control_plane,
    ending,
    environment,
)
from tests.support.metrics import lines as some_lines
from tests.support.ports import free_port
from tests.support.servers import TestBucket, TestDatabase
from tests.support.storing import store_of, store_variables

MISMATCH = "stoker_trainer.errors.DatasetMethodMismatch: rows have chosen and rejected, sft needs messages"
TEXTS = ["reading rows", "Traceback (most recent call last):", "KeyError: 'chosen'", MISMATCH]


@pytest.fixture
def metrics_variables(metrics_variables: dict[str, str], object_store: TestBucket) -> dict[str, str]:
    """With a store for packed lines."""
    return metrics_variables | store_variables(object_store)


def failed(*, sequence: int = 7, attempt: int = 1, reason: EndReason = EndReason.TRAINER_ERROR) -> JobFailed:
    return JobFailed(**_envelope(sequence, attempt), status=JobStatus.FAILED, reason=reason, detail="exit code 1")


def requeued(*, sequence: int, attempt: int, reason: EndReason) -> JobRequeued:
    moment = datetime.now(UTC)
    values = _envelope(sequence, attempt)
    return JobRequeued(**values, status=JobStatus.QUEUED, reason=reason, next_attempt_at=moment)


def _envelope(sequence: int, attempt: int) -> dict[str, object]:
    ids = {"event_id": uuid4(), "occurred_at": datetime.now(UTC), "sequence": sequence, "job_id": JOB}
    return ids | {"attempt": attempt, "spent_micro_usd": 0}


async def tell(nats: RunningNats, *events: JobEvent, times: int = 1) -> None:
    """As the deployer does; again under other ids, as after the window of duplicates."""
    async with started(bus_of(nats, "deployer")) as bus:
        for event in events:
            for number in range(times):
                payload = event.model_dump_json().encode()
                await bus.publisher.publish(event.subject, payload, message_id=f"{event.event_id}-{number}")


async def report_a_failure(post: object, token: str) -> None:
    told = [{"sequence": n, "at": AT, "stream": "stderr", "text": text} for n, text in enumerate(TEXTS, 1)]
    # A failed trainer has no numbers to sum up.
    exit_report = ending(exit_code=12, reason="dataset_method_mismatch", message=MISMATCH, summary=None)
    assert (await post("logs", {"attempt": 1, "lines": told}, token)).status_code == 202  # type: ignore[operator]
    assert (await post("exit", exit_report, token)).status_code == 202  # type: ignore[operator]


async def diagnosis(plane: ControlPlane, *, attempt: int | None = None) -> Diagnosis | None:
    query = DiagnosisQuery(owner=OWNER, job_id=JOB, attempt=attempt)
    return (await plane.api.ask(DIAGNOSIS, query)).diagnosis


async def told_diagnoses(nats: RunningNats) -> list[dict[str, object]]:
    events = [json.loads(message.data or b"") for message in await stored(nats, "EVENTS")]
    return [event for event in events if event["type"] == "diagnosed"]


async def test_a_failed_attempt_is_diagnosed_from_what_its_pod_said(
    world: World, token: str, clean_bus: RunningNats
) -> None:
    await report_a_failure(world.post, token)
    await tell(clean_bus, failed(reason=EndReason.DATASET_METHOD_MISMATCH))
    found = await until(lambda: diagnosis(world.plane), what="a diagnosis")
    assert found is not None
    assert found.verdict.cause == "dataset_method_mismatch"
    assert ("log", 3) in [(one.source, one.sequence) for one in found.verdict.evidence]
    assert not found.last_errors


async def test_an_end_that_is_told_again_and_again_is_diagnosed_and_told_once(
    world: World, token: str, clean_bus: RunningNats
) -> None:
    await report_a_failure(world.post, token)
    await tell(clean_bus, failed(), times=4)
    await tell(clean_bus, failed(sequence=8, reason=EndReason.BUDGET_NOT_COVERED))
    await until(lambda: _is_idle(clean_bus), what="all events handled")
    told = await until(lambda: _so_many(clean_bus, 2), what="two events")
    assert sorted(str(event["cause"]) for event in told) == ["budget_not_covered", "dataset_method_mismatch"]
    assert not await stored(clean_bus, "DEAD")


async def _so_many(nats: RunningNats, count: int) -> list[dict[str, object]] | None:
    told = await told_diagnoses(nats)
    return told if len(told) >= count else None


async def test_lines_that_are_packed_before_the_end_is_told_are_evidence_all_the_same(
    world: World, token: str, clean_bus: RunningNats, object_store: TestBucket
) -> None:
    await report_a_failure(world.post, token)
    await world.until_rows("SELECT 1 FROM kept_attempts WHERE lines_stored = 4")
    await world.plane.revoke()
    database = Database(SecretStr(world.database.url("metrics")))
    packer = Packer(database, store_of(object_store), clock=world.clock, pack_after=timedelta(minutes=15))
    assert await packer.sweep() == 1
    await database.close()
    assert not await world.rows("SELECT * FROM log_lines")
    await tell(clean_bus, failed())
    found = await until(lambda: diagnosis(world.plane), what="a diagnosis")
    assert found is not None
    assert found.verdict.cause == "dataset_method_mismatch"
    assert ("log", 3) in [(one.source, one.sequence) for one in found.verdict.evidence]


async def test_reports_that_are_not_stored_yet_are_waited_for(world: World, token: str, clean_bus: RunningNats) -> None:
    holder = await asyncpg.connect(world.database.url("metrics", driver="postgresql"))
    holding = holder.transaction()
    await holding.start()
    try:
        await holder.execute("SELECT * FROM attempt_reports WHERE job_id = $1 FOR UPDATE", JOB)
        await report_a_failure(world.post, token)
        await tell(clean_bus, failed())
        await until(lambda: _is_being_handled(clean_bus), what="the end to be with the service")
        assert not await world.rows("SELECT * FROM diagnoses")
    finally:
        await holding.rollback()
        await holder.close()
    found = await until(lambda: diagnosis(world.plane), what="a diagnosis")
    assert found is not None
    assert found.verdict.cause == "dataset_method_mismatch"


async def _is_being_handled(nats: RunningNats) -> bool:
    async with raw_client(nats, "topology") as client:
        info = await client.jetstream().consumer_info("EVENTS", CONSUMER)
    return bool(info.num_ack_pending)


async def test_each_end_of_a_job_has_its_own(world: World, token: str, clean_bus: RunningNats) -> None:
    await tell(
        clean_bus,
        requeued(sequence=5, attempt=1, reason=EndReason.OUT_OF_MEMORY),
        failed(sequence=9, attempt=2, reason=EndReason.MAX_DURATION_REACHED),
    )
    await world.until_rows("SELECT * FROM diagnoses", count=2)
    first, newest = await diagnosis(world.plane, attempt=1), await diagnosis(world.plane)
    assert first is not None
    assert newest is not None
    assert (first.verdict.cause, newest.verdict.cause) == ("gpu_memory", "duration_reached")


async def test_a_job_that_failed_before_any_attempt_is_diagnosed_too(world: World, clean_bus: RunningNats) -> None:
    await tell(clean_bus, failed(attempt=0, reason=EndReason.NO_CAPACITY))
    found = await until(lambda: diagnosis(world.plane), what="a diagnosis")
    assert found is not None
    assert (found.attempt, found.verdict.cause) == (0, "no_capacity")
    told = await until(lambda: _so_many(clean_bus, 1), what="the event")
    assert told[0]["attempt"] == 0


async def test_nothing_known_is_told_as_unknown_with_the_last_error_lines(
    world: World, token: str, clean_bus: RunningNats
) -> None:
    assert (await world.post("logs", some_lines(1, text="OddError: the moon is full"), token)).status_code == 202
    await tell(clean_bus, failed())
    found = await until(lambda: diagnosis(world.plane), what="a diagnosis")
    assert found is not None
    assert found.verdict.cause == "unknown"
    assert "OddError: the moon is full" in [one.text for one in found.last_errors]


async def test_a_success_is_not_diagnosed(world: World, token: str, clean_bus: RunningNats) -> None:
    done = JobCompleted(**_envelope(6, 1), status=JobStatus.COMPLETED, reason=EndReason.SUCCESS)
    await tell(clean_bus, done, failed(sequence=7))
    rows = await world.until_rows("SELECT job_sequence FROM diagnoses", count=1)
    assert rows[0]["job_sequence"] == 7


async def test_another_owner_is_told_nothing(world: World, token: str, clean_bus: RunningNats) -> None:
    await tell(clean_bus, failed())
    await until(lambda: diagnosis(world.plane), what="a diagnosis")
    with pytest.raises(RemoteRefusal):
        await world.plane.api.ask(DIAGNOSIS, DiagnosisQuery(owner="user-0000000000000002", job_id=JOB))


async def test_killed_before_and_after_it_diagnoses_it_tells_once_with_all_the_evidence(
    clean_bus: RunningNats, metrics_database: TestDatabase, tmp_path: Path
) -> None:
    port = free_port()
    variables = environment(clean_bus, metrics_database.url("metrics"), port=port)
    service = MetricsProcess(variables, tmp_path / "metrics.log")
    await service.start()
    try:
        async with control_plane(clean_bus) as plane:
            token = await plane.admit(owner=OWNER)
            async with _pod(service.url, token) as post:
                await report_a_failure(post, token)
            service.kill()
            event = failed()
            await tell(clean_bus, event)
            await service.start()
            found = await until(lambda: diagnosis(plane), what="a diagnosis")
            service.kill()
            await tell(clean_bus, event, times=3)
            await service.start()
            await until(lambda: _is_idle(clean_bus), what="all handled")
            again = await diagnosis(plane)
            assert found is not None
            assert found == again
            assert found.verdict.cause == "dataset_method_mismatch"
            assert len(await until(lambda: _so_many(clean_bus, 1), what="the event")) == 1
    finally:
        service.kill()


async def _is_idle(nats: RunningNats) -> bool:
    async with raw_client(nats, "topology") as client:
        info = await client.jetstream().consumer_info("EVENTS", CONSUMER)
    return not info.num_ack_pending and not info.num_pending


class _pod:  # noqa: N801 - reads as a function
    """A pod's way to a service in a process of its own."""

    def __init__(self, url: str, token: str) -> None:
        self._url, self._token = url, token

    async def __aenter__(self) -> object:
        import httpx

        self._client = httpx.AsyncClient(base_url=self._url, trust_env=False)

        async def post(kind: str, body: object, token: str) -> httpx.Response:
            return await self._client.post(f"/v1/jobs/{JOB}/{kind}", json=body, headers=bearer(token))

        return post

    async def __aexit__(self, *_error: object) -> None:
        await self._client.aclose()

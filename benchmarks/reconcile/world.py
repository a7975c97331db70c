"""What stands around the deployers: live jobs in the database, a metrics service that answers, pods that speak up."""

import asyncio
import random
import time
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import asyncpg

from stoker.stack.standalone import RunningNats
from stoker_deployer.jobs.tables import machine_name
from stoker_shared.bus import Bus, BusSettings, MessageContext, answer, consume
from stoker_shared.commands import LaunchJob, PlannedOffer
from stoker_shared.events import AnyJobEvent, JobEvent, PodPhaseChanged
from stoker_shared.identifiers import new_identifier
from stoker_shared.money import ONE_USD
from stoker_shared.recipe import DataFormat, ModelChoice, Recipe
from stoker_shared.rpc import metrics
from stoker_shared.rpc.metrics import AttemptReport, AttemptReports, Phase

PHASES: tuple[Phase, ...] = ("preparing", "training", "saving")


class Pods:
    """Metrics service and api on the bus. Each `speak` lets a pod enter its next phase; `lags` are how long it took
    from that word to the job event that tells of it."""

    def __init__(self, nats: RunningNats, job_ids: list[str]) -> None:
        self.lags: list[float] = []
        self.spoken = 0
        self.questions = 0
        self._phase: dict[str, Phase] = {}
        self._spoken_at: dict[tuple[str, str], float] = {}
        self._silent = [(job_id, phase) for phase in PHASES for job_id in random.sample(job_ids, len(job_ids))]
        self._buses = {
            name: Bus(BusSettings(url=nats.url, service=name, seed_file=nats.seed_files[name]))
            for name in ("api", "metrics")
        }
        answer(self._buses["metrics"], metrics.REPORT, self._report)
        answer(self._buses["metrics"], metrics.REPORTS, self._reports)
        consume(self._buses["api"], "api_job_events", AnyJobEvent, self._hear)

    async def start(self) -> None:
        """Connect."""
        for bus in self._buses.values():
            await bus.start()

    async def stop(self) -> None:
        """Disconnect."""
        for bus in self._buses.values():
            await bus.stop()

    async def speak_for(self, duration: timedelta, *, per_second: float) -> None:
        """Let pods enter phases at an even pace."""
        started = time.monotonic()
        for number in range(int(duration.total_seconds() * per_second)):
            await asyncio.sleep(max(started + number / per_second - time.monotonic(), 0))
            if self._silent:
                await self.speak(*self._silent.pop(0))
        await asyncio.sleep(max(started + duration.total_seconds() - time.monotonic(), 0))

    async def speak(self, job_id: str, phase: Phase) -> None:
        """One pod enters a phase."""
        self._phase[job_id] = phase
        self._spoken_at[job_id, phase] = time.monotonic()
        self.spoken += 1
        now = datetime.now(UTC)
        event = PodPhaseChanged(event_id=uuid4(), occurred_at=now, sequence=1, job_id=job_id, attempt=1, phase=phase)
        publisher = self._buses["metrics"].publisher
        await publisher.publish(event.subject, event.model_dump_json().encode(), message_id=str(event.event_id))

    async def _hear(self, event: JobEvent, _context: MessageContext) -> None:
        spoken_at = self._spoken_at.pop((event.job_id, event.status.value), None)
        if spoken_at is not None:
            self.lags.append(time.monotonic() - spoken_at)

    async def _report(self, asked: metrics.ReportRequest) -> AttemptReport:
        self.questions += 1
        return self._said(asked.job_id)

    async def _reports(self, asked: metrics.ReportsRequest) -> AttemptReports:
        self.questions += len(asked.attempts)
        return AttemptReports(reports=[self._said(wanted.job_id) for wanted in asked.attempts])

    def _said(self, job_id: str) -> AttemptReport:
        now = datetime.now(UTC)
        return AttemptReport(
            job_id=job_id,
            attempt=1,
            phase=self._phase.get(job_id),
            last_heard_at=now,
            last_progress_at=now,
            step=100,
            total_steps=1000,
            seconds_left=900.0,
            tokens_per_second=5000.0,
            latest_values={"loss": 1.25, "learning_rate": 1e-4, "grad_norm": 0.5},
        )


async def store_jobs(url: str, count: int, *, spread: timedelta) -> list[str]:
    """Live jobs that have just started, due evenly over `spread`; each with its machine and its reservation."""
    now = datetime.now(UTC)
    job_ids = [new_identifier("job") for _ in range(count)]
    rows = [_job(job_id, due=now + spread * (place / count), now=now) for place, job_id in enumerate(job_ids)]
    connection = await asyncpg.connect(url)
    try:
        # The binary form of jsonb: its version, then the text.
        await connection.set_type_codec(
            "jsonb", encoder=lambda text: b"\x01" + text.encode(), decoder=bytes, schema="pg_catalog", format="binary"
        )
        await _copy(connection, "jobs", rows)
        await _copy(connection, "attempts", [_attempt(job_id, now=now) for job_id in job_ids])
        await _copy(connection, "ledger_entries", [_reservation(job_id, now=now) for job_id in job_ids])
        await connection.execute("ANALYZE")
    finally:
        await connection.close()
    return job_ids


async def _copy(connection: Any, table: str, rows: list[dict[str, Any]]) -> None:
    await connection.copy_records_to_table(table, columns=list(rows[0]), records=[tuple(row.values()) for row in rows])


def _job(job_id: str, *, due: datetime, now: datetime) -> dict[str, Any]:
    command = LaunchJob(
        event_id=uuid4(),
        occurred_at=now,
        job_id=job_id,
        owner="user-00000000000000aa",
        plan_id="plan-00000000000000aa",
        plan_hash="0" * 64,
        dataset_version_id="dataset-00000000000000aa",
        data_format=DataFormat.MESSAGES,
        recipe=Recipe(model=ModelChoice(name_or_path="tiny")),
        offers=[PlannedOffer(provider="instant", gpu_type="a100", gpu_count=1, price_micro_usd_per_hour=ONE_USD)],
        budget_micro_usd=100 * ONE_USD,
    )
    return {
        "job_id": job_id,
        "owner": command.owner,
        "command": command.model_dump_json(),
        "budget_micro_usd": command.budget_micro_usd,
        "max_attempts": command.max_attempts,
        "max_duration_seconds": command.max_duration_seconds,
        "created_at": now,
        "status": "starting",
        "sequence": 3,
        "attempt": 1,
        "end_detail": "",
        "next_check_at": due,
        "check_failures": 0,
        "wakes": 0,
    }


def _attempt(job_id: str, *, now: datetime) -> dict[str, Any]:
    # What each job has cost was last noted at another time, as in a system that has run for long.
    noted = now - timedelta(seconds=random.uniform(0, 15))
    return {
        "job_id": job_id,
        "number": 1,
        "provider": "instant",
        "gpu_type": "a100",
        "gpu_count": 1,
        "place": "",
        "price_micro_usd_per_hour": ONE_USD,
        "machine_name": machine_name(job_id, 1),
        "intent_at": noted,
        "handle": machine_name(job_id, 1),
        "launched_at": noted,
        "billing_started_at": noted,
        "accrued_at": noted,
        "terminate_calls": 0,
        "end_detail": "",
    }


def _reservation(job_id: str, *, now: datetime) -> dict[str, Any]:
    return {
        "entry_id": uuid4(),
        "job_id": job_id,
        "attempt": 1,
        "kind": "reserve",
        "debit": f"held:{job_id}/1",
        "credit": f"budget:{job_id}",
        "amount": ONE_USD,
        "at": now,
        "key": f"{job_id}/1/reserve/first",
    }

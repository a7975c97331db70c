"""Rows and views for tests of the pure rules."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from stoker_deployer.jobs.policy import Policy
from stoker_deployer.jobs.tables import Attempt, Cancellation, Job, machine_name
from stoker_deployer.jobs.view import Sight, Snapshot, View
from stoker_deployer.ledger.book import Book
from stoker_shared.commands import LaunchJob, PlannedOffer
from stoker_shared.job_state import JobStatus
from stoker_shared.money import ONE_USD
from stoker_shared.recipe import DataFormat, ModelChoice, Recipe
from stoker_shared.rpc.metrics import AttemptReport, ExitFacts

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
JOB = "job-00000000000000aa"
HOURLY = ONE_USD  # one dollar an hour

POLICY = Policy(
    active_check=timedelta(seconds=2),
    calm_check_max=timedelta(seconds=60),
    queued_check=timedelta(seconds=2),
    failed_check_max=timedelta(seconds=30),
    absence_pause=timedelta(seconds=5),
    exit_report_grace=timedelta(seconds=20),
    heartbeat_timeout=timedelta(seconds=120),
    no_progress_timeout=timedelta(minutes=30),
    start_timeout=timedelta(minutes=15),
    retry_delay=timedelta(seconds=5),
    retry_delay_max=timedelta(minutes=5),
    capacity_cooldown=timedelta(minutes=1),
    capacity_cooldown_max=timedelta(minutes=15),
    capacity_probe=timedelta(seconds=30),
    capacity_patience=timedelta(hours=24),
    breaker_spend_share=0.5,
    terminate_retry=timedelta(milliseconds=250),
    terminate_retry_max=timedelta(seconds=60),
    reservation=timedelta(hours=1),
    budget_tick=timedelta(seconds=10),
    accrue_every=timedelta(seconds=15),
    provision_timeout=timedelta(minutes=15),
    preparing_timeout=timedelta(hours=1),
    saving_timeout=timedelta(hours=2),
    terminate_stalled_after=timedelta(minutes=10),
    terminate_stalled_every=timedelta(hours=1),
    landing_default=timedelta(minutes=5),
    landing_safety=1.5,
)


def ago(**span: float) -> datetime:
    """A moment before `NOW`."""
    return NOW - timedelta(**span)


def command(**changes: Any) -> LaunchJob:
    """A launch command; three attempts, ten dollars, two offers."""
    offers = [
        PlannedOffer(provider="local", gpu_type="cpu", gpu_count=0, price_micro_usd_per_hour=HOURLY),
        PlannedOffer(provider="local", gpu_type="other", gpu_count=0, price_micro_usd_per_hour=2 * HOURLY),
    ]
    fields: dict[str, Any] = {
        "event_id": UUID(int=1),
        "occurred_at": NOW,
        "job_id": JOB,
        "owner": "user-00000000000000aa",
        "plan_id": "plan-00000000000000aa",
        "plan_hash": "0" * 64,
        "dataset_version_id": "dataset-00000000000000aa",
        "data_format": DataFormat.MESSAGES,
        "recipe": Recipe(model=ModelChoice(name_or_path="tiny")),
        "offers": offers,
        "budget_micro_usd": 10 * ONE_USD,
        "max_attempts": 3,
        "max_duration_seconds": 7200,
    }
    return LaunchJob(**(fields | changes))


def job(status: JobStatus, *, launch: LaunchJob | None = None, **changes: Any) -> Job:
    """A job in a status; attempt 1 unless it is queued."""
    launch = launch or command()
    fields: dict[str, Any] = {
        "job_id": launch.job_id,
        "owner": launch.owner,
        "command": launch.model_dump(mode="json"),
        "budget_micro_usd": launch.budget_micro_usd,
        "max_attempts": launch.max_attempts,
        "max_duration_seconds": launch.max_duration_seconds,
        "created_at": ago(hours=1),
        "status": status.value,
        "attempt": 0 if status == JobStatus.QUEUED else 1,
        "next_check_at": NOW,
    }
    return Job(**(fields | changes))


def attempt(number: int = 1, **changes: Any) -> Attempt:
    """An attempt whose machine has been running for ten minutes."""
    fields: dict[str, Any] = {
        "job_id": JOB,
        "number": number,
        "provider": "local",
        "gpu_type": "cpu",
        "gpu_count": 0,
        "price_micro_usd_per_hour": HOURLY,
        "machine_name": machine_name(JOB, number),
        "intent_at": ago(minutes=10, seconds=5),
        "handle": machine_name(JOB, number),
        "launched_at": ago(minutes=10, seconds=4),
        "billing_started_at": ago(minutes=10),
    }
    return Attempt(**(fields | changes))


def report(**changes: Any) -> AttemptReport:
    """A pod that spoke five seconds ago."""
    fields: dict[str, Any] = {"job_id": JOB, "attempt": 1, "last_heard_at": ago(seconds=5)}
    return AttemptReport(**(fields | changes))


def exited(reason: str, *, code: int = 1, message: str = "") -> AttemptReport:
    """A pod that said how it ended."""
    return report(exit=ExitFacts(at=ago(seconds=1), exit_code=code, reason=reason, message=message))


def view(row: Job, tried: Attempt | None, sight: Sight, **changes: Any) -> View:
    """A view at `NOW`."""
    book = changes.pop("book", None) or Book(row.job_id, budget=row.budget_micro_usd)
    wish = Cancellation(job_id=row.job_id, requested_by="user", why="no need", requested_at=NOW)
    cancellation = wish if changes.pop("is_cancelled", False) else None
    snapshot = Snapshot(
        job=row,
        attempt=tried,
        cancellation=cancellation,
        book=book,
        ran_before=changes.pop("ran_before", timedelta()),
        earlier=changes.pop("earlier", ()),
        cooldowns=changes.pop("cooldowns", {}),
    )
    made = View(
        now=NOW,
        snapshot=snapshot,
        sight=sight,
        policy=POLICY,
        providers=frozenset({"local"}),
        watching_since=ago(days=1),
    )
    return replace(made, **changes)

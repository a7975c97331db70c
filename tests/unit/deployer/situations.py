"""Situations a job may be in and the step that follows, as a table."""

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from stoker_deployer.jobs.steps import (
    Step,
)
from stoker_deployer.jobs.tables import Attempt, Job
from stoker_deployer.jobs.view import Sight
from stoker_deployer.ledger.book import Book
from stoker_deployer.providers import Alive, AliveKind, Machine, Unknown
from stoker_shared.job_state import EndReason, JobStatus
from stoker_shared.money import ONE_USD
from tests.unit.deployer.rows import JOB, NOW, ago, attempt, report

S, R = JobStatus, EndReason
RUNNING = Alive(AliveKind.RUNNING, ago(minutes=10))
QUEUED_THERE = Alive(AliveKind.QUEUED)
UNKNOWN = Unknown("no answer")
OURS = Machine(f"{JOB}-1", f"{JOB}-1", RUNNING)
WITHOUT_MACHINE = attempt(handle=None, launched_at=None, billing_started_at=None, intent_at=ago(seconds=30))
WELL = Sight(RUNNING, report=report(phase="training"))


@dataclass
class Case:
    """A situation and the step it leads to; `noted` and `after` only for waits."""

    what: str
    row: Job
    seen: Sight
    step: type[Step]
    tried: Attempt | None = None
    about: dict[str, Any] = field(default_factory=dict)
    reason: EndReason | None = None
    status: JobStatus | None = None
    noted: dict[str, Any] | None = None
    after: timedelta | None = None
    has_failed: bool | None = None


def book_with(spent: int) -> Book:
    book = Book(JOB, budget=10 * ONE_USD)
    book.reserve(1, amount=spent, at=NOW)
    book.accrue(1, total=spent, at=NOW)
    return book


def spoke(age: timedelta) -> Sight:
    return Sight(RUNNING, report=report(phase="training", last_heard_at=NOW - age))

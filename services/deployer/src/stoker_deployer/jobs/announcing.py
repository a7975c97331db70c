"""Events of a job, built from the state after the fact."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar
from uuid import uuid4

from stoker_deployer.jobs.tables import Attempt, Job
from stoker_deployer.ledger.book import Book
from stoker_shared.events import JobEvent, PreparationStarted, SavingStarted, TrainingStarted
from stoker_shared.job_state import JobStatus

EventT = TypeVar("EventT", bound=JobEvent)

PHASE_EVENTS: dict[JobStatus, type[JobEvent]] = {
    JobStatus.PREPARING: PreparationStarted,
    JobStatus.TRAINING: TrainingStarted,
    JobStatus.SAVING: SavingStarted,
}


@dataclass(frozen=True, slots=True)
class Aftermath:
    """The state after a change, from which its event is told."""

    job: Job
    attempt: Attempt | None
    book: Book
    now: datetime


def tell(kind: type[EventT], after: Aftermath, **fields: Any) -> EventT:
    """The event of a change. While a machine costs money, its cost is told as a price and a start, not as spent."""
    billed = after.attempt if _is_billing(after) else None
    open_cost = after.book.spent_by(billed.number) if billed else 0
    return kind(
        event_id=uuid4(),
        occurred_at=after.now,
        sequence=after.job.sequence,
        job_id=after.job.job_id,
        attempt=after.job.attempt,
        status=after.job.state,
        spent_micro_usd=after.book.spent - open_cost,
        price_micro_usd_per_hour=after.attempt.price_micro_usd_per_hour if after.attempt else 0,
        billing_started_at=billed.billing_started_at if billed else None,
        **fields,
    )


def _is_billing(after: Aftermath) -> bool:
    attempt = after.attempt
    return attempt is not None and attempt.billing_started_at is not None and attempt.billing_ended_at is None

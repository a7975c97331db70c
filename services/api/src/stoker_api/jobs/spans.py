"""A job's life as spans: one for each status, and the root when it is over. Made of its events, once for each."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from stoker_shared.events import JobEvent
from stoker_shared.job_state import JobStatus
from stoker_shared.trace import Attributes, job_traceparent, record_job, record_span


@dataclass(frozen=True, slots=True)
class Moment:
    """The status of a job after one of its events."""

    status: JobStatus
    at: datetime


def record_life(event: JobEvent, earlier: Sequence[Moment]) -> None:
    """Tell of the status that this event ends, if it does. `earlier` are the events before it, oldest first."""
    if not earlier or earlier[-1].status == event.status:
        return
    attributes: Attributes = {"stoker.job_id": event.job_id, "stoker.attempt": event.attempt}
    record_span(
        f"job: {earlier[-1].status}",
        parent=job_traceparent(event.job_id),
        started_at=_since(earlier),
        ended_at=event.occurred_at,
        attributes=attributes,
    )
    if event.status.is_terminal:
        record_job(
            event.job_id,
            started_at=earlier[0].at,
            ended_at=event.occurred_at,
            attributes={
                **attributes,
                "stoker.status": str(event.status),
                "stoker.spent_micro_usd": event.spent_micro_usd,
            },
        )


def _since(earlier: Sequence[Moment]) -> datetime:
    """When the last status began."""
    since = earlier[-1]
    for moment in reversed(earlier):
        if moment.status != since.status:
            break
        since = moment
    return since.at

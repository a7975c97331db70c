"""From a row to what a user sees."""

from datetime import datetime

from stoker_api.jobs.schemas import AttemptBill, Job
from stoker_api.jobs.tables import JobViewRow
from stoker_shared.events import CostSettled
from stoker_shared.job_state import EndReason, JobStatus
from stoker_shared.money import MicroUsd, cost_of


def job_of(row: JobViewRow, *, now: datetime) -> Job:
    """The job as it stands at `now`."""
    status = JobStatus(row.status)
    reason = EndReason(row.reason) if row.reason else None
    return Job(
        job_id=row.job_id,
        plan_id=row.plan_id,
        name=row.name,
        status=status,
        is_over=status.is_terminal,
        sequence=row.sequence,
        attempt=row.attempt,
        provider=row.provider,
        gpu_type=row.gpu_type,
        gpu_count=row.gpu_count,
        budget_micro_usd=row.budget_micro_usd,
        spent_micro_usd=row.spent_micro_usd,
        price_micro_usd_per_hour=row.price_micro_usd_per_hour,
        billing_started_at=row.billing_started_at,
        cost_micro_usd_now=_cost_now(row, now),
        reason=reason,
        message=reason.ending.message if reason else "",
        advice=reason.ending.advice if reason else "",
        detail=row.detail,
        cancel_requested_at=row.cancel_requested_at,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )


def bill_of(event: CostSettled) -> AttemptBill:
    """What was billed for one attempt."""
    return AttemptBill(
        attempt=event.settled_attempt,
        estimated_micro_usd=event.estimated_micro_usd,
        billed_micro_usd=event.billed_micro_usd,
    )


def _cost_now(row: JobViewRow, now: datetime) -> int:
    if row.billing_started_at is None:
        return row.spent_micro_usd
    return row.spent_micro_usd + cost_of(now - row.billing_started_at, MicroUsd(row.price_micro_usd_per_hour))

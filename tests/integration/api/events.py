"""Events of a job, as the deployer tells them."""

from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

from stoker_shared.events import (
    AnyJobEvent,
    CostSettled,
    JobCompleted,
    JobEvent,
    JobFailed,
    JobQueued,
    JobRequeued,
    MachineProvisioned,
    PreparationStarted,
    ProvisioningStarted,
    SavingStarted,
    TerminationStarted,
    TrainingStarted,
)
from stoker_shared.job_state import EndReason, JobStatus
from tests.unit.api.examples import NOW

PRICE = 3_600_000  # a micro-dollar per millisecond


def a_life(job_id: str, *, started_at: datetime = NOW) -> list[AnyJobEvent]:
    """A job that completes: eight events."""
    running: dict[str, Any] = {"price_micro_usd_per_hour": PRICE, "billing_started_at": started_at}
    machine: dict[str, Any] = {"provider": "local", "gpu_type": "cpu", "gpu_count": 0, "reserved_micro_usd": 300}
    return [
        an_event(JobQueued, job_id, 1, JobStatus.QUEUED, attempt=0),
        an_event(ProvisioningStarted, job_id, 2, JobStatus.PROVISIONING, **machine),
        an_event(MachineProvisioned, job_id, 3, JobStatus.STARTING, machine=f"{job_id}-1", **running),
        an_event(PreparationStarted, job_id, 4, JobStatus.PREPARING, **running),
        an_event(TrainingStarted, job_id, 5, JobStatus.TRAINING, **running),
        an_event(SavingStarted, job_id, 6, JobStatus.SAVING, **running),
        an_event(TerminationStarted, job_id, 7, JobStatus.TERMINATING, reason=EndReason.SUCCESS, **running),
        an_event(JobCompleted, job_id, 8, JobStatus.COMPLETED, reason=EndReason.SUCCESS, spent_micro_usd=9000),
    ]


def a_failure(job_id: str, sequence: int) -> AnyJobEvent:
    """The job ran out of memory."""
    detail = "12 GB were asked for"
    failed: JobFailed = an_event(
        JobFailed, job_id, sequence, JobStatus.FAILED, reason=EndReason.OUT_OF_MEMORY, detail=detail
    )
    return failed


def a_bill(job_id: str, sequence: int, *, of_attempt: int, estimated: int, billed: int) -> AnyJobEvent:
    """The provider has told what an attempt cost."""
    told: CostSettled = an_event(
        CostSettled,
        job_id,
        sequence,
        JobStatus.COMPLETED,
        reason=EndReason.SUCCESS,
        settled_attempt=of_attempt,
        estimated_micro_usd=estimated,
        billed_micro_usd=billed,
        spent_micro_usd=billed,
    )
    return told


def a_requeue(job_id: str, sequence: int) -> AnyJobEvent:
    """The first attempt was lost."""
    requeued: JobRequeued = an_event(
        JobRequeued, job_id, sequence, JobStatus.QUEUED, reason=EndReason.MACHINE_LOST, next_attempt_at=NOW
    )
    return requeued


def an_event(
    kind: type[JobEvent], job_id: str, sequence: int, status: JobStatus, *, attempt: int = 1, **fields: Any
) -> Any:
    """One event."""
    values = {"spent_micro_usd": 0, **fields}
    return kind(
        event_id=uuid4(),
        occurred_at=NOW + timedelta(seconds=sequence),
        sequence=sequence,
        job_id=job_id,
        attempt=attempt,
        status=status,
        **values,
    )

"""Tables of the deployer. PostgreSQL is the truth: what is not in these rows did not happen."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, MetaData
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field, SQLModel

from stoker_shared.commands import LaunchJob
from stoker_shared.database import UtcColumn
from stoker_shared.job_state import EndReason, JobStatus


class Table(SQLModel):
    """Base of this service's tables; their metadata is their own."""

    metadata = MetaData()


def _time() -> Any:
    return Field(sa_type=UtcColumn)


def _time_or_none() -> Any:
    return Field(default=None, sa_type=UtcColumn)


def _micro_usd() -> Any:
    return Field(sa_type=BigInteger)


class Job(Table, table=True):
    """One launched plan. `lock_token` fences: only its holder may change the row, except for `wakes`.

    `provider`: of the present attempt; of a queued job, of the next one as far as is known. `waits_for`: what a queued
    job waits for beside a slot.
    """

    __tablename__ = "jobs"

    job_id: str = Field(primary_key=True)
    owner: str
    command: dict[str, Any] = Field(sa_type=JSONB)
    budget_micro_usd: int = _micro_usd()
    max_attempts: int
    max_duration_seconds: int
    created_at: datetime = _time()
    project: str = "default"
    priority: int = 0

    status: str
    sequence: int = 0
    attempt: int = 0
    end_reason: str | None = None
    end_detail: str = ""
    next_attempt_at: datetime | None = _time_or_none()
    ended_at: datetime | None = _time_or_none()
    provider: str | None = None
    waits_for: str = ""

    next_check_at: datetime | None = _time_or_none()
    check_failures: int = 0
    wakes: int = 0
    lock_token: UUID | None = None
    lock_owner: str | None = None
    lock_expires_at: datetime | None = _time_or_none()

    @property
    def state(self) -> JobStatus:
        """The status as an enum."""
        return JobStatus(self.status)

    @property
    def reason(self) -> EndReason | None:
        """Why it ends, once that is known."""
        return EndReason(self.end_reason) if self.end_reason else None

    @property
    def project_name(self) -> str:
        """Whose budget it counts against, besides the owner's."""
        return str(self.command.get("project") or "default")

    @property
    def launch(self) -> LaunchJob:
        """The command as it arrived."""
        return LaunchJob.model_validate(self.command)


class Attempt(Table, table=True):
    """One try at a job with one machine. The row is the intent: it is committed before the provider is asked.

    `refused_at`: it is certain that no machine was made. `absent_since`: the first look that found no machine.
    `exited_since`: the first look that found the machine ended without a report. `report_missed_at`: the last time
    that nobody could tell what the pod reported. `per_device`, `accumulation`: the batch on its devices, None for what
    the recipe says. `stall_told_at`: the last time that it was told that the machine does not go. `landing_since`: when
    the trainer was ordered to land, for `landing_why`. `bill_state` is a `BillState`; `bill_ask_at`: when the provider
    is asked (again) what it bills. `orphans_micro_usd`: what other machines of its name have cost, which the bill for
    its own does not cover. `succeeded_at`: when success and stored model were first seen, if the machine stays on.
    `key_version`: of the owner's key that its machine is launched with, 0 for the operator's.
    """

    __tablename__ = "attempts"

    job_id: str = Field(primary_key=True)
    number: int = Field(primary_key=True)
    provider: str
    gpu_type: str
    gpu_count: int
    place: str = ""
    vram_bytes: int | None = Field(default=None, sa_type=BigInteger)
    per_device: int | None = None
    accumulation: int | None = None
    may_resume: bool = True
    price_micro_usd_per_hour: int = _micro_usd()
    machine_name: str
    owner: str = ""
    key_version: int = 0
    intent_at: datetime = _time()

    refused_at: datetime | None = _time_or_none()
    handle: str | None = None
    launched_at: datetime | None = _time_or_none()
    billing_started_at: datetime | None = _time_or_none()
    billing_ended_at: datetime | None = _time_or_none()
    accrued_at: datetime | None = _time_or_none()
    absent_since: datetime | None = _time_or_none()
    exited_since: datetime | None = _time_or_none()
    report_missed_at: datetime | None = _time_or_none()
    terminate_calls: int = 0
    terminating_since: datetime | None = _time_or_none()
    stall_told_at: datetime | None = _time_or_none()
    end_reason: str | None = None
    end_detail: str = ""
    ended_at: datetime | None = _time_or_none()

    landing_since: datetime | None = _time_or_none()
    landing_why: str | None = None
    succeeded_at: datetime | None = _time_or_none()
    bill_state: str = ""
    bill_ask_at: datetime | None = _time_or_none()
    billed_micro_usd: int | None = Field(default=None, sa_type=BigInteger)
    orphans_micro_usd: int = Field(default=0, sa_type=BigInteger)


class Cancellation(Table, table=True):
    """A user's wish to end a job. A row of its own, so that it can come before the job and is never overwritten."""

    __tablename__ = "cancellations"

    job_id: str = Field(primary_key=True)
    requested_by: str
    why: str = ""
    requested_at: datetime = _time()


def machine_name(job_id: str, attempt: int) -> str:
    """The name of an attempt's machine at every provider; what it is looked for by."""
    return f"{job_id}-{attempt}"

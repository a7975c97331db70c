"""Jobs as users see them."""

from datetime import datetime

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from stoker_shared.identifiers import Identifier
from stoker_shared.job_state import EndReason, JobStatus
from stoker_shared.rpc.metrics import Phase


class LaunchPlan(BaseModel):
    """Launch a plan. The hash says what was approved."""

    model_config = ConfigDict(extra="forbid")

    plan_id: Identifier
    plan_hash: str = Field(pattern=r"^[0-9a-f]{64}$")
    priority: int = Field(default=0, ge=-10, le=10, description="Of jobs that wait, higher ones begin first")


class Progress(BaseModel):
    """What the machine last said. `is_available` False: the metrics service could not be asked; `detail` says why."""

    is_available: bool
    detail: str = ""
    phase: Phase | None = None
    step: int = 0
    total_steps: int = 0
    seconds_left: float | None = None
    tokens_per_second: float | None = None
    latest_values: dict[str, float | None] = Field(default_factory=dict)
    last_heard_at: AwareDatetime | None = None


class QueuePosition(BaseModel):
    """Where a queued job stands among all that wait, 1 for the first. `ahead`: those before it that compete with it."""

    position: int
    ahead: int
    reason: str = Field(description="What it waits for")


class AttemptBill(BaseModel):
    """What the provider's own books say of an attempt that is over, beside what it was estimated at until then."""

    attempt: int
    estimated_micro_usd: int
    billed_micro_usd: int


class JobCause(BaseModel):
    """Why the job failed, in one line; the whole is `GET /v1/jobs/{job_id}/diagnosis`."""

    cause: str
    summary: str
    confidence: float


class Job(BaseModel):
    """A job. `cost_micro_usd_now` is what is spent plus what the machine has cost since `billing_started_at`."""

    job_id: str
    plan_id: str | None
    name: str
    status: JobStatus
    is_over: bool
    sequence: int = Field(description="Of the event that this state was taken from; 0 before the first")
    attempt: int
    provider: str | None
    gpu_type: str | None
    gpu_count: int | None
    budget_micro_usd: int | None
    spent_micro_usd: int
    price_micro_usd_per_hour: int
    billing_started_at: datetime | None
    cost_micro_usd_now: int
    reason: EndReason | None = Field(description="Why the job, or its last attempt, ended")
    message: str
    advice: str
    detail: str
    cancel_requested_at: datetime | None
    created_at: datetime
    updated_at: datetime
    queue: QueuePosition | None = Field(
        default=None, description="Of a queued job; null if the deployer cannot be asked or it is just beginning"
    )
    progress: Progress | None = Field(default=None, description="Of an active job, and only if one job is asked for")
    diagnosed: JobCause | None = Field(
        default=None, description="Of a failed job, and only if one job is asked for; null until it is diagnosed"
    )
    bills: list[AttemptBill] = Field(
        default_factory=list, description="Of attempts whose provider has told its bill; only if one job is asked for"
    )


class JobList(BaseModel):
    """Newest first. Ask on with `before` set to the last job's id."""

    jobs: list[Job]

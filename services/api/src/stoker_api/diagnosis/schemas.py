"""Diagnoses and proposals as users see them."""

from pydantic import BaseModel, ConfigDict, Field

from stoker_shared.identifiers import Identifier
from stoker_shared.rpc.diagnosis import Change, Diagnosis


class JobDiagnosis(BaseModel):
    """Why the job's newest end, or that of an attempt, came. `diagnosis` null: there is none (yet), see `detail`."""

    diagnosis: Diagnosis | None
    detail: str = ""


class Proposal(BaseModel):
    """A plan that differs from the failed job's in one thing, was found to fit, and is priced. Launch it: retry."""

    number: int = Field(description="1 is the most promising")
    change: Change
    summary: str = Field(description="What differs, with its numbers")
    plan_id: str
    plan_hash: str
    provider: str
    gpu_type: str
    gpu_count: int
    price_micro_usd_per_hour: int
    cost_micro_usd_low: int
    cost_micro_usd_high: int
    cost_difference_micro_usd: int | None = Field(
        default=None, description="Of the highest forecast to that of the failed plan; null if that had none"
    )
    budget_micro_usd: int


class Unhelpful(BaseModel):
    """A change that was tried on paper and does not help, and why."""

    change: Change
    why: str


class Proposals(BaseModel):
    """What to change. None: no change to the plan helps; then the advice says what does."""

    job_id: str
    attempt: int
    cause: str
    summary: str
    advice: str
    proposals: list[Proposal]
    unhelpful: list[Unhelpful] = Field(default_factory=list)


class RetryJob(BaseModel):
    """Launch a proposal under its hash."""

    model_config = ConfigDict(extra="forbid")

    plan_id: Identifier
    plan_hash: str = Field(pattern=r"^[0-9a-f]{64}$")
    priority: int = Field(default=0, ge=-10, le=10, description="Of jobs that wait, higher ones begin first")

"""What travels on a job's event stream. Documented in OpenAPI as the stream's items."""

from typing import Any, Literal

from pydantic import AwareDatetime, BaseModel

from stoker_shared.events import JobEvent
from stoker_shared.job_state import EndReason, JobStatus
from stoker_shared.rpc.metrics import Heartbeat, Phase


class JobUpdate(BaseModel):
    """Data of a `job` event: the fact, and the state after it. The event's id is `sequence`.

    `fact` holds what only this kind of event carries, for example `gpu_type` of `provisioning_started`.
    """

    job_id: str
    type: str
    sequence: int
    occurred_at: AwareDatetime
    attempt: int
    status: JobStatus
    is_over: bool
    spent_micro_usd: int
    price_micro_usd_per_hour: int
    billing_started_at: AwareDatetime | None
    reason: EndReason | None
    message: str
    advice: str
    detail: str
    fact: dict[str, Any]


class ProgressUpdate(BaseModel):
    """Data of a `progress` event: a heartbeat of the machine."""

    job_id: str
    attempt: int
    at: AwareDatetime
    phase: Phase
    step: int
    total_steps: int
    seconds_left: float | None
    tokens_per_second: float | None


class DroppedUpdate(BaseModel):
    """Data of a `dropped` event: this client is slow, so the oldest telemetry was left out. No job event ever is."""

    dropped: int


EventName = Literal["job", "metrics", "log", "progress", "dropped"]

_COMMON = frozenset(JobEvent.model_fields) | {"type", "reason", "detail"}


def job_update(payload: dict[str, Any]) -> JobUpdate:
    """What a stored event tells a user."""
    reason = EndReason(payload["reason"]) if payload.get("reason") else None
    return JobUpdate.model_validate(
        {
            **payload,
            "is_over": JobStatus(payload["status"]).is_terminal,
            "reason": reason,
            "message": reason.ending.message if reason else "",
            "advice": reason.ending.advice if reason else "",
            "detail": payload.get("detail", ""),
            "fact": {name: value for name, value in payload.items() if name not in _COMMON},
        }
    )


def progress_update(heartbeat: Heartbeat) -> ProgressUpdate:
    """What a heartbeat tells a user."""
    return ProgressUpdate.model_validate(heartbeat.model_dump())

"""What a notification says: the JSON of a webhook, and from it the words for people. Pure."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from stoker_shared.events import (
    AlertRaised,
    Event,
    JobCancelled,
    JobCompleted,
    JobEvent,
    JobFailed,
    JobRequeued,
    LandingStarted,
    LossTroubled,
    OrphanCostBooked,
    PodEvent,
    TerminationStalled,
)
from stoker_shared.money import show_usd

TYPES: dict[type[Event], str] = {
    JobCompleted: "job.completed",
    JobFailed: "job.failed",
    JobCancelled: "job.cancelled",
    LandingStarted: "job.landing",
    JobRequeued: "job.retry",
    TerminationStalled: "job.machine_stuck",
    OrphanCostBooked: "job.orphan_found",
    AlertRaised: "job.alert",
    LossTroubled: "job.loss_trouble",
}
"""Events that a rule can ask for. `job.budget_share` and `job.queued_long` come by the clock."""

TEST = "notification.test"
TARGET_PAUSED = "notification.target_paused"
HELD_BACK = "job.alerts_held_back"
"""Told in the place of an alert, to those who asked for `job.alert`."""

TITLES: dict[str, str] = {
    "job.completed": "Job completed",
    "job.failed": "Job failed",
    "job.cancelled": "Job cancelled",
    "job.landing": "Job is landing",
    "job.budget_share": "Job has used much of its budget",
    "job.retry": "Job gets another attempt",
    "job.queued_long": "Job still waits",
    "job.alert": "Alert from the trainer",
    HELD_BACK: "Further alerts are held back",
    "job.loss_trouble": "The loss is in trouble",
    "job.machine_stuck": "A machine could not be ended",
    "job.orphan_found": "An orphaned machine was found",
    TEST: "A test from Stoker",
    TARGET_PAUSED: "Notifications to a target are paused",
}

LONGEST_MESSAGE = 300


@dataclass(frozen=True, slots=True)
class JobFacts:
    """What is known of a job beside the event. `spent_micro_usd` with what the running machine has cost until now."""

    job_id: str
    project: str | None
    attempt: int
    status: str
    spent_micro_usd: int
    budget_micro_usd: int | None = None


def spent_until(
    now: datetime, *, spent_micro_usd: int, price_micro_usd_per_hour: int, billing_started_at: datetime | None
) -> int:
    """What a job has cost, with the machine that runs."""
    if billing_started_at is None:
        return spent_micro_usd
    seconds = max(0.0, (now - billing_started_at).total_seconds())
    return spent_micro_usd + int(seconds * price_micro_usd_per_hour / 3600)


def event_payload(notification: str, event: JobEvent | PodEvent, job: JobFacts, *, api_url: str | None) -> str:
    """The body for an event of a job."""
    reason = getattr(event, "reason", None)
    return job_payload(
        notification,
        job,
        at=event.occurred_at,
        reason=_reason(event) if reason is None else str(getattr(reason, "value", reason)),
        message=_message(event),
        api_url=api_url,
    )


def job_payload(
    notification: str,
    job: JobFacts,
    *,
    at: datetime,
    reason: str | None,
    message: str,
    api_url: str | None,
) -> str:
    """The body for a job; `timestamp` is when it happened, not when it is sent."""
    data = _job_data(job, reason=reason, message=message, api_url=api_url)
    return payload(notification, at=at, data=data)


def held_back_payload(job: JobFacts, *, at: datetime, most: int, until: datetime, api_url: str | None) -> str:
    """The body that says that a job's alerts are held back, and where they stand all the same."""
    message = (
        f"After {most} alerts within an hour, further ones of this job are held back until "
        f"{until.astimezone(UTC):%Y-%m-%d %H:%M} UTC. The trainer's alerts stand in its log: stoker logs {job.job_id}"
    )
    data = _job_data(job, reason=None, message=message, api_url=api_url)
    if api_url:
        data["links"]["log"] = f"{data['links']['job']}/logs"
    return payload(HELD_BACK, at=at, data={**data, "held_until": _stamp(until)})


def _job_data(job: JobFacts, *, reason: str | None, message: str, api_url: str | None) -> dict[str, Any]:
    return {
        "job_id": job.job_id,
        "project": job.project,
        "attempt": job.attempt,
        "status": job.status,
        "reason": reason,
        "message": short(message),
        "spent_micro_usd": job.spent_micro_usd,
        "budget_micro_usd": job.budget_micro_usd,
        "links": {"job": f"{api_url.rstrip('/')}/v1/jobs/{job.job_id}"} if api_url else {},
    }


def payload(notification: str, *, at: datetime, data: dict[str, Any]) -> str:
    """A body, the same for the same facts."""
    content = {"type": notification, "timestamp": _stamp(at), "data": data}
    return json.dumps(content, separators=(",", ":"), ensure_ascii=True)


def short(message: str) -> str:
    """One line, and not a long one: a log does not leave by this way."""
    line = " ".join(message.split("\n", 1)[0].split())
    return line if len(line) <= LONGEST_MESSAGE else f"{line[: LONGEST_MESSAGE - 1]}…"


@dataclass(frozen=True, slots=True)
class Words:
    """What people read."""

    title: str
    text: str


def words(body: str) -> Words:
    """A payload in words."""
    content = json.loads(body)
    data = content["data"]
    title = TITLES.get(content["type"], content["type"])
    if job_id := data.get("job_id"):
        title = f"{title}: {job_id}"
    lines = [data.get("message") or ""]
    if data.get("reason"):
        lines.append(f"Reason: {data['reason']}")
    if "spent_micro_usd" in data:
        of = f" of {show_usd(data['budget_micro_usd'])}" if data.get("budget_micro_usd") else ""
        lines.append(f"Attempt {data['attempt']}, {data['status']}, spent {show_usd(data['spent_micro_usd'])}{of}")
    lines += [str(link) for link in data.get("links", {}).values()]
    return Words(title, "\n".join(line for line in lines if line))


def _stamp(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


def _reason(event: Event) -> str | None:
    if isinstance(event, AlertRaised):
        return event.code
    if isinstance(event, LossTroubled):
        return event.kind
    return event.why if isinstance(event, LandingStarted) else None


def _message(event: Event) -> str:
    return event.message if isinstance(event, AlertRaised) else str(getattr(event, "detail", ""))

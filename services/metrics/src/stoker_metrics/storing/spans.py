"""Spans of what a pod does: it sends none itself, so they are made of what it reports."""

from stoker_metrics.storing.progress import Progress
from stoker_metrics.storing.schemas import AttemptKey
from stoker_shared.trace import Attributes, job_traceparent, record_span


def record_progress(key: AttemptKey, *, before: Progress, after: Progress) -> None:
    """Tell of a phase that is over, and of the first step; times are those of receipt."""
    job_id, attempt = key
    parent = job_traceparent(job_id)
    attributes: Attributes = {"stoker.job_id": job_id, "stoker.attempt": attempt}
    if before.phase is not None and before.phase_since is not None and after.phase != before.phase:
        record_span(
            f"pod: {before.phase}",
            parent=parent,
            started_at=before.phase_since,
            ended_at=after.phase_since or before.phase_since,
            attributes=attributes,
        )
    if before.step == 0 and after.step > 0 and after.last_progress_at is not None:
        record_span(
            "pod: to the first step",
            parent=parent,
            started_at=after.phase_since or after.last_progress_at,
            ended_at=after.last_progress_at,
            attributes=attributes,
        )

"""What the contract server says: facts, and events of its stream."""

from datetime import UTC, datetime
from typing import Any

JOB = "job-00000000000000aa"
NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC).isoformat()

Event = tuple[str, dict[str, Any]]
CUT: Event = ("cut", {})
"""In a script of events: the connection breaks here."""


def dataset_facts(version_id: str, wanted: dict[str, Any]) -> dict[str, Any]:
    """What is known of an upload that has been announced."""
    return {"dataset_version_id": version_id, "owner": "user-1", "state": "uploading", "created_at": NOW, **wanted}


def job(sequence: int, status: str, *, attempt: int = 1) -> Event:
    """A change of the job."""
    content = {"job_id": JOB, "type": status, "sequence": sequence, "attempt": attempt, "status": status}
    return "job", content


def point(sequence: int) -> dict[str, Any]:
    """One point; its loss is the number that it has."""
    return {"sequence": sequence, "step": sequence, "at": NOW, "values": {"loss": float(sequence)}}


def line(sequence: int) -> dict[str, Any]:
    """One line of output."""
    return {"sequence": sequence, "at": NOW, "stream": "stdout", "text": f"line {sequence}"}


def alert(attempt: int, sequence: int, *, level: str = "warning", message: str = "look") -> dict[str, Any]:
    """One alert."""
    place = {"attempt": attempt, "sequence": sequence}
    return {**place, "at": NOW, "level": level, "code": "rows_truncated", "message": message}


def metrics(*sequences: int, attempt: int = 1) -> Event:
    """Live points."""
    return "metrics", {"job_id": JOB, "attempt": attempt, "points": [point(sequence) for sequence in sequences]}


def logs(*sequences: int, attempt: int = 1) -> Event:
    """Live lines."""
    return "log", {"job_id": JOB, "attempt": attempt, "lines": [line(sequence) for sequence in sequences]}

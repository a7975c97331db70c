"""What a follower of a job hears."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

from httpx_sse import ServerSentEvent
from pydantic import ValidationError

from stoker.client.errors import AnswerNotUnderstood
from stoker.client.models import Answer, Job
from stoker_shared.rpc.metrics import Line, Lines, Point, Points


@dataclass(frozen=True, slots=True)
class JobChanged:
    """The job is in another state. `sequence` counts the changes; `fact` holds what only this kind of change has."""

    kind: ClassVar[str] = "job"

    sequence: int
    type: str
    job: Job
    fact: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class MetricsReported:
    """New points of the loss curve."""

    kind: ClassVar[str] = "metrics"

    attempt: int
    points: tuple[Point, ...]

    @property
    def entries(self) -> tuple[Point, ...]:
        """The points, each with its sequence number."""
        return self.points


@dataclass(frozen=True, slots=True)
class LogWritten:
    """New lines of output."""

    kind: ClassVar[str] = "log"

    attempt: int
    lines: tuple[Line, ...]

    @property
    def entries(self) -> tuple[Line, ...]:
        """The lines, each with its sequence number."""
        return self.lines


class Progress(Answer):
    """How far the machine says it is."""

    kind: ClassVar[str] = "progress"

    attempt: int = 0
    phase: str | None = None
    step: int = 0
    total_steps: int = 0
    seconds_left: float | None = None
    tokens_per_second: float | None = None


Entries = MetricsReported | LogWritten
JobNews = JobChanged | Entries | Progress


def read_news(event: ServerSentEvent) -> JobNews | None:
    """An event of the stream; None if it is of a kind that only newer clients know.

    Raises:
        AnswerNotUnderstood: its data is not what the contract says.
    """
    reader = _READERS.get(event.event)
    try:
        return reader(event) if reader else None
    except (ValidationError, ValueError, AttributeError) as error:
        raise AnswerNotUnderstood(f"the event stream ({event.event})", type(error).__name__) from error


def _read_job(event: ServerSentEvent) -> JobChanged:
    content = event.json()
    sequence = int(content.get("sequence") or event.id)
    return JobChanged(
        sequence, type=str(content.get("type", "")), job=Job.model_validate(content), fact=content.get("fact") or {}
    )


def _read_metrics(event: ServerSentEvent) -> MetricsReported:
    batch = Points.model_validate_json(event.data)
    return MetricsReported(batch.attempt, tuple(batch.points))


def _read_log(event: ServerSentEvent) -> LogWritten:
    batch = Lines.model_validate_json(event.data)
    return LogWritten(batch.attempt, tuple(batch.lines))


def _read_progress(event: ServerSentEvent) -> Progress:
    return Progress.model_validate_json(event.data)


_READERS: dict[str, Callable[[ServerSentEvent], JobNews]] = {
    "job": _read_job,
    "metrics": _read_metrics,
    "log": _read_log,
    "progress": _read_progress,
}

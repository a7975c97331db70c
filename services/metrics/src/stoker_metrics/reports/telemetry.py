"""Kinds of reports, and the message that each becomes."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from stoker_metrics.reports.schemas import (
    AlertReport,
    ExitReport,
    HeartbeatReport,
    LogsReport,
    MetricsReport,
    Report,
)
from stoker_shared.messages import Message
from stoker_shared.rpc.metrics import Alert, Exit, Heartbeat, LogBatch, MetricsBatch


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of report. `name` is the last token of its subject, `items` its list (None: it is a single report)."""

    name: str
    report: type[Report]
    message: Callable[[str, Any, datetime], Message]
    items: str | None = None

    def list_of(self, report: Report) -> list[Any]:
        """The points or lines of a report, or the report alone."""
        return getattr(report, self.items) if self.items else [report]


def _metrics(job_id: str, report: MetricsReport, _received_at: datetime) -> Message:
    points = [point.to_point() for point in report.points]
    return MetricsBatch(job_id=job_id, attempt=report.attempt, points=points)


def _logs(job_id: str, report: LogsReport, _received_at: datetime) -> Message:
    return LogBatch(job_id=job_id, attempt=report.attempt, lines=[line.to_line() for line in report.lines])


def _heartbeat(job_id: str, report: HeartbeatReport, received_at: datetime) -> Message:
    return Heartbeat(job_id=job_id, received_at=received_at, **report.model_dump(exclude={"sent_at"}))


def _alert(job_id: str, report: AlertReport, _received_at: datetime) -> Message:
    return Alert(job_id=job_id, **report.model_dump(exclude={"sent_at"}))


def _exit(job_id: str, report: ExitReport, _received_at: datetime) -> Message:
    return Exit(job_id=job_id, attempt=report.attempt, sequence=report.sequence, facts=report.to_facts())


METRICS = Kind("metrics", MetricsReport, _metrics, items="points")
LOGS = Kind("logs", LogsReport, _logs, items="lines")
HEARTBEAT = Kind("heartbeat", HeartbeatReport, _heartbeat)
ALERT = Kind("alert", AlertReport, _alert)
EXIT = Kind("exit", ExitReport, _exit)

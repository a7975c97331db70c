"""What the metrics service answers: admission of attempts, what a pod last said, points and log lines."""

from datetime import timedelta
from typing import Literal

from pydantic import AwareDatetime, Field

from stoker_shared.identifiers import Identifier
from stoker_shared.messages import Message
from stoker_shared.rpc.contract import Empty, Rpc
from stoker_shared.rpc.dataset_gateway import RevokeAttempt, Sha256

SERVICE = "metrics"

Phase = Literal["preparing", "training", "saving"]
AlertLevel = Literal["warning", "error"]


class AdmitAttempt(Message):
    """Accept reports of this attempt under this token. May be called again with another token."""

    job_id: Identifier
    attempt: int = Field(ge=1)
    owner: str
    job_token_sha256: Sha256
    expires_at: AwareDatetime


class ReportRequest(Message):
    """Ask what the pod of an attempt last said."""

    job_id: Identifier
    attempt: int = Field(ge=1)


MOST_STEPS = 2**53
"""No step is higher: JavaScript counts exactly up to here."""

MOST_REPORTS = 250
"""Of one question. Answers must stay well below what a NATS message may hold (1 MiB)."""


class ReportsRequest(Message):
    """Ask what the pods of many attempts last said."""

    attempts: list[ReportRequest] = Field(min_length=1, max_length=MOST_REPORTS)


class ExitFacts(Message):
    """How the trainer says it ended."""

    at: AwareDatetime
    exit_code: int
    reason: str
    message: str = ""
    last_lines: list[str] = Field(default_factory=list)
    summary: dict[str, float | None] = Field(default_factory=dict)


class LossTrouble(Message):
    """What is wrong with the loss, since when."""

    kind: Literal["diverging", "non_finite"]
    at: AwareDatetime
    step: int
    detail: str


class AttemptReport(Message):
    """The latest word of a pod. All empty if it has not spoken yet."""

    job_id: Identifier
    attempt: int
    phase: Phase | None = None
    phase_since: AwareDatetime | None = None
    last_heard_at: AwareDatetime | None = None
    last_progress_at: AwareDatetime | None = Field(default=None, description="When the step last rose")
    step: int = 0
    total_steps: int = 0
    seconds_left: float | None = None
    tokens_per_second: float | None = None
    latest_values: dict[str, float | None] = Field(default_factory=dict)
    loss_trouble: LossTrouble | None = None
    landing_seconds: float | None = Field(
        default=None, description="What stopping, saving and uploading takes, measured on this machine"
    )
    exit: ExitFacts | None = None


class AttemptReports(Message):
    """The reports that can be told. One that is left out is not known now; that says nothing of its pod."""

    reports: list[AttemptReport]
    exited: list[ReportRequest] = Field(default_factory=list, description="Ask for each of these alone")


class PointsQuery(Message):
    """Ask for metric points of a job in order; `attempt` None means the latest attempt that has any."""

    owner: str
    job_id: Identifier
    attempt: int | None = None
    after_sequence: int = 0
    limit: int = Field(default=1000, ge=1, le=10_000)
    first_step: int = Field(default=0, ge=0)
    last_step: int = Field(default=MOST_STEPS, ge=0, le=MOST_STEPS)


class Point(Message):
    """Values at one step."""

    sequence: int
    step: int
    at: AwareDatetime
    values: dict[str, float | None]


class Points(Message):
    """Points in order of sequence."""

    attempt: int
    points: list[Point]
    not_kept: int = Field(default=0, description="Points that came after the job's cap was reached")


class LinesQuery(Message):
    """Ask for log lines in order."""

    owner: str
    job_id: Identifier
    attempt: int | None = None
    after_sequence: int = 0
    limit: int = Field(default=1000, ge=1, le=10_000)
    newest: int | None = Field(default=None, ge=1, description="Begin so many lines before the end")


class Line(Message):
    """One line of output."""

    sequence: int
    at: AwareDatetime
    stream: str
    text: str


CappedBy = Literal["lines", "bytes"]


class LinesNotKept(Message):
    """Where a job's log is capped, and what came after that."""

    after_sequence: int
    lines: int
    capped_by: CappedBy


class Lines(Message):
    """Lines in order of sequence."""

    attempt: int
    lines: list[Line]
    not_kept: LinesNotKept | None = None


class Telemetry(Message):
    """What all messages on `tel.>` may say: what was added to the times of a machine whose clock is wrong."""

    clock_shift_seconds: float = 0.0


class MetricsBatch(Telemetry):
    """What travels on `tel.<job_id>.metrics`."""

    job_id: Identifier
    attempt: int
    points: list[Point]


class LogBatch(Telemetry):
    """What travels on `tel.<job_id>.logs`."""

    job_id: Identifier
    attempt: int
    lines: list[Line]


class Heartbeat(Telemetry):
    """What travels on `tel.<job_id>.heartbeat`."""

    job_id: Identifier
    attempt: int
    sequence: int
    at: AwareDatetime
    received_at: AwareDatetime
    phase: Phase
    step: int = 0
    total_steps: int = 0
    seconds_left: float | None = None
    tokens_per_second: float | None = None
    landing_seconds: float | None = None


class AlertFacts(Message):
    """One alert, as the pod raised it."""

    attempt: int
    sequence: int
    at: AwareDatetime
    level: AlertLevel
    code: str
    message: str


class Alert(AlertFacts, Telemetry):
    """What travels on `tel.<job_id>.alert`."""

    job_id: Identifier


class Exit(Telemetry):
    """What travels on `tel.<job_id>.exit`."""

    job_id: Identifier
    attempt: int
    sequence: int
    facts: ExitFacts


TELEMETRY: dict[str, type[Telemetry]] = {
    "metrics": MetricsBatch,
    "logs": LogBatch,
    "heartbeat": Heartbeat,
    "alert": Alert,
    "exit": Exit,
}
"""What travels on `tel.<job_id>.<kind>`, by kind."""


class Control(Message):
    """What a pod is told in the answer to each report.

    `land`: stop between two steps, evaluate nothing more, store checkpoint and model, end with the reason `landed`;
    all of it before `deadline`, when the machine is taken away.
    """

    action: Literal["continue", "checkpoint", "stop", "land"] = "continue"
    reason: str | None = None
    deadline: AwareDatetime | None = None


class OrderAttempt(Message):
    """Tell the pod of an attempt something with every answer from now on. The newest order counts."""

    job_id: Identifier
    attempt: int = Field(ge=1)
    control: Control


ADMIT = Rpc(SERVICE, "admit", AdmitAttempt, Empty, callers=("deployer",), timeout=timedelta(seconds=10))
REVOKE = Rpc(SERVICE, "revoke", RevokeAttempt, Empty, callers=("deployer",), timeout=timedelta(seconds=10))
ORDER = Rpc(SERVICE, "order", OrderAttempt, Empty, callers=("deployer",), timeout=timedelta(seconds=5))
REPORT = Rpc(SERVICE, "report", ReportRequest, AttemptReport, callers=("deployer", "api"))
REPORTS = Rpc(SERVICE, "reports", ReportsRequest, AttemptReports, callers=("deployer",))
POINTS = Rpc(SERVICE, "points", PointsQuery, Points, callers=("api",))
LINES = Rpc(SERVICE, "lines", LinesQuery, Lines, callers=("api",))

METRICS = (ADMIT, REVOKE, ORDER, REPORT, REPORTS, POINTS, LINES)

"""Bodies of reports. Values that are not finite numbers become null; text that is too long is cut with a mark."""

import math
from typing import Annotated, Any

from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, Strict

from stoker_shared.rpc.metrics import AlertLevel, Control, ExitFacts, Line, Phase, Point

MAX_TEXT_CHARACTERS = 8_000
MAX_LAST_LINES = 200
_LARGEST = 2**53
_DATABASE_REFUSES = "\x00"


def finite_or_none(value: float | None) -> float | None:
    """NaN and the infinities, which JSON does not have, as null."""
    return value if value is None or math.isfinite(value) else None


def storable(text: str) -> str:
    """A name or word without the one character that PostgreSQL cannot hold."""
    return text.replace(_DATABASE_REFUSES, "\N{REPLACEMENT CHARACTER}")


def cut(text: str) -> str:
    """At most `MAX_TEXT_CHARACTERS` characters; what is left out is counted at the end."""
    text = storable(text)
    if len(text) <= MAX_TEXT_CHARACTERS:
        return text
    return f"{text[:MAX_TEXT_CHARACTERS]} [cut: {len(text) - MAX_TEXT_CHARACTERS} more characters]"


def _or_empty(values: Any) -> Any:
    # A trainer that failed has measured nothing; one of an older bundle says so with null.
    return {} if values is None else values


def _newest_lines(lines: Any) -> Any:
    return lines[-MAX_LAST_LINES:] if isinstance(lines, list) else lines


Number = Annotated[float, Strict()]
Value = Annotated[Number | None, AfterValidator(finite_or_none)]
Count = Annotated[int, Strict(), Field(ge=0, le=_LARGEST)]
Sequence = Annotated[int, Strict(), Field(ge=1, le=_LARGEST)]
Word = Annotated[str, AfterValidator(storable), Field(min_length=1, max_length=200)]
Text = Annotated[str, AfterValidator(cut)]
Values = Annotated[dict[Word, Value], Field(max_length=500)]


class Body(BaseModel):
    """Base of bodies. Unknown fields of newer trainers are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Report(Body):
    """Base of all reports. With `sent_at`, the sender's time of day, a clock that is wrong is set right."""

    attempt: Annotated[int, Strict(), Field(ge=1)]
    sent_at: AwareDatetime | None = None


class PointIn(Body):
    """Values at one step."""

    sequence: Sequence
    step: Count
    at: AwareDatetime
    values: Values

    def to_point(self) -> Point:
        """As it is stored."""
        return Point(sequence=self.sequence, step=self.step, at=self.at, values=self.values)


class LineIn(Body):
    """One line of output."""

    sequence: Sequence
    at: AwareDatetime
    stream: Word
    text: Text

    def to_line(self) -> Line:
        """As it is stored."""
        return Line(sequence=self.sequence, at=self.at, stream=self.stream, text=self.text)


class MetricsReport(Report):
    """`POST /metrics`. Sequences count 1, 2, 3 over all metric points of the attempt."""

    points: Annotated[list[PointIn], Field(min_length=1)]


class LogsReport(Report):
    """`POST /logs`. Sequences count over all lines of the attempt."""

    lines: Annotated[list[LineIn], Field(min_length=1)]


class HeartbeatReport(Report):
    """`POST /heartbeat`. Sequences rise over all heartbeats of the attempt."""

    sequence: Sequence
    at: AwareDatetime
    phase: Phase
    step: Count = 0
    total_steps: Count = 0
    seconds_left: Value = None
    tokens_per_second: Value = None
    landing_seconds: Value = None


class AlertReport(Report):
    """`POST /alerts`: something that a person should know."""

    sequence: Sequence
    at: AwareDatetime
    level: AlertLevel
    code: Word
    message: Text


class ExitReport(Report):
    """`POST /exit`: how the trainer ends. Only the first one of an attempt counts."""

    sequence: Sequence
    at: AwareDatetime
    exit_code: Annotated[int, Strict(), Field(ge=-(2**31), lt=2**31)]
    reason: Word
    message: Text = ""
    last_lines: Annotated[list[Text], BeforeValidator(_newest_lines)] = Field(default_factory=list)
    summary: Annotated[Values, BeforeValidator(_or_empty)] = Field(default_factory=dict)

    def to_facts(self) -> ExitFacts:
        """As it is stored."""
        return ExitFacts(**self.model_dump(include=set(ExitFacts.model_fields)))


class Taken(BaseModel):
    """The answer 202: everything in the report is on the broker's disk."""

    accepted: int = Field(description="Points, lines or single reports in the body, those sent before included")
    control: Control

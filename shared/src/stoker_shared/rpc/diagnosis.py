"""Why an attempt failed, as the metrics service answers it."""

from typing import Literal

from pydantic import AwareDatetime, Field

from stoker_shared.identifiers import Identifier
from stoker_shared.job_state import EndReason
from stoker_shared.messages import Message
from stoker_shared.rpc.contract import Rpc

Change = Literal[
    "smaller_batch",
    "shorter_length",
    "use_lora",
    "larger_gpu",
    "other_offer",
    "lower_learning_rate",
    "more_disk",
    "higher_budget",
    "longer_duration",
    "higher_price_ceiling",
    "full_precision",
    "with_hub_token",
    "fresh_start",
    "same_again",
]
"""What another plan may do differently. The api applies it to the failed job's plan and plans anew."""

Source = Literal["log", "exit", "alert", "loss", "end"]
"""A log line, the exit report, an alert, what the loss did, or what the deployer knows of the end."""

UNKNOWN = "unknown"
"""The cause when nothing matched. Nobody guesses then: the last error lines are shown."""


class Evidence(Message):
    """Where a cause was read. `sequence` is that of the log line or alert, so that the log can be opened there."""

    source: Source
    text: str
    sequence: int | None = None


class Finding(Message):
    """One cause, as sure as `confidence` (0 to 1), and what to do."""

    cause: str
    confidence: float = Field(ge=0, le=1)
    summary: str = Field(description="One line in the user's words")
    advice: str
    changes: list[Change] = Field(default_factory=list, description="The most promising first; none: no plan helps")
    evidence: list[Evidence] = Field(default_factory=list)


class Diagnosis(Message):
    """Why an attempt ended. The first finding is the verdict; the others were seen as well, or followed from it."""

    job_id: Identifier
    attempt: int
    job_sequence: int = Field(description="Of the job's event that told the end")
    at: AwareDatetime
    reason: EndReason
    findings: list[Finding] = Field(min_length=1)
    last_errors: list[Evidence] = Field(default_factory=list, description="Only if nothing matched")

    @property
    def verdict(self) -> Finding:
        """The first finding."""
        return self.findings[0]


class DiagnosisQuery(Message):
    """Ask why an attempt ended; `attempt` None means the newest end that was diagnosed."""

    owner: str
    job_id: Identifier
    attempt: int | None = Field(default=None, ge=0)


class DiagnosisAnswer(Message):
    """`diagnosis` None: no end was diagnosed (yet)."""

    diagnosis: Diagnosis | None = None


DIAGNOSIS = Rpc("metrics", "diagnosis", DiagnosisQuery, DiagnosisAnswer, callers=("api",))

DIAGNOSES = (DIAGNOSIS,)

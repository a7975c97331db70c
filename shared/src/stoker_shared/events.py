"""Events: past facts. Stream `EVENTS`, kept 30 days. Docs: docs/adding-an-event.md."""

from typing import Annotated, ClassVar, Literal

from pydantic import AwareDatetime, Field

from stoker_shared import subjects
from stoker_shared.identifiers import Identifier
from stoker_shared.job_state import EndReason, JobStatus
from stoker_shared.messages import Envelope
from stoker_shared.money import NonNegativeMicroUsd


class Event(Envelope):
    """Base of events. `type` is the fact in the subject and the key by which a consumer tells events apart."""

    aggregate: ClassVar[str]

    type: str
    sequence: int = Field(ge=1, description="Counts 1, 2, 3 within the aggregate; from the row, so never doubled")

    @property
    def aggregate_id(self) -> str:
        """The id of what the event is about."""
        raise NotImplementedError  # pragma: no cover - every aggregate base below defines it

    @property
    def subject(self) -> str:
        """Where this event is published."""
        return subjects.event(self.aggregate, self.aggregate_id, self.type)


class JobEvent(Event):
    """A fact about a job, told by the deployer. Carries the state after the fact, so one event can be understood alone.

    `spent_micro_usd` is what all attempts have cost so far. While `billing_started_at` is set, the machine costs
    `price_micro_usd_per_hour` on top of it from that moment on.
    """

    aggregate = "job"

    job_id: Identifier
    attempt: int = Field(ge=0, description="0 before the first attempt")
    status: JobStatus
    spent_micro_usd: NonNegativeMicroUsd
    price_micro_usd_per_hour: NonNegativeMicroUsd = 0
    billing_started_at: AwareDatetime | None = None

    @property
    def aggregate_id(self) -> str:
        """The job."""
        return self.job_id


class JobQueued(JobEvent):
    """The deployer has taken the job."""

    schema_version: int = 2
    type: Literal["queued"] = "queued"
    owner: str = Field(default="", description="Empty in events of before version 2")
    project: str = ""
    budget_micro_usd: NonNegativeMicroUsd | None = None


class ProvisioningStarted(JobEvent):
    """An attempt begins: its intent and its reservation are stored, the provider is asked next."""

    schema_version: int = 2
    type: Literal["provisioning_started"] = "provisioning_started"
    provider: str
    gpu_type: str
    gpu_count: int
    reserved_micro_usd: NonNegativeMicroUsd
    per_device: int | None = Field(default=None, description="Rows at once on each device, as refitted for this offer")
    accumulation: int | None = Field(default=None, description="Such steps for one update of the weights")
    may_resume: bool = Field(default=True, description="It goes on from the job's last checkpoint, if there is one")


class MachineProvisioned(JobEvent):
    """The provider has given a machine; it boots or waits for its slot."""

    type: Literal["machine_provisioned"] = "machine_provisioned"
    machine: str


class PreparationStarted(JobEvent):
    """The trainer runs and fetches what it needs."""

    type: Literal["preparation_started"] = "preparation_started"


class TrainingStarted(JobEvent):
    """The first step is under way."""

    type: Literal["training_started"] = "training_started"


class SavingStarted(JobEvent):
    """Training is over; the model is being uploaded."""

    type: Literal["saving_started"] = "saving_started"


class LandingStarted(JobEvent):
    """Money or time run out: the trainer was told to store what it has and to stop before the deadline."""

    type: Literal["landing_started"] = "landing_started"
    why: Literal["budget", "duration"]
    deadline: AwareDatetime
    detail: str = ""


class CostSettled(JobEvent):
    """The provider has told what it bills for an attempt that is over; `spent_micro_usd` counts it from here on.

    It may come after the end of the job, whose reason it repeats.
    """

    type: Literal["cost_settled"] = "cost_settled"
    settled_attempt: int = Field(ge=1)
    estimated_micro_usd: NonNegativeMicroUsd
    billed_micro_usd: NonNegativeMicroUsd
    reason: EndReason | None = None
    detail: str = ""


class OrphanCostBooked(JobEvent):
    """A machine turned up after its attempt was over; what it has cost since is in `spent_micro_usd` from here on.

    It may come after the end of the job, whose reason it repeats.
    """

    type: Literal["orphan_cost_booked"] = "orphan_cost_booked"
    machine: str
    of_attempt: int = Field(ge=1)
    cost_micro_usd: NonNegativeMicroUsd
    reason: EndReason | None = None
    detail: str = ""


class TerminationStarted(JobEvent):
    """The machine is being released; the reason stands, the status after it follows when the machine is gone."""

    type: Literal["termination_started"] = "termination_started"
    reason: EndReason
    detail: str = ""


class TerminationStalled(JobEvent):
    """The machine does not go, or nobody can tell whether it has gone. The job stays; told again each hour."""

    type: Literal["termination_stalled"] = "termination_stalled"
    reason: EndReason
    detail: str


class JobRequeued(JobEvent):
    """The attempt failed for a reason that another attempt may not meet."""

    type: Literal["requeued"] = "requeued"
    reason: EndReason
    detail: str = ""
    next_attempt_at: AwareDatetime


class JobEnded(JobEvent):
    """Base of the three ends."""

    reason: EndReason
    detail: str = ""


class JobCompleted(JobEnded):
    """The model is stored and the machine is gone."""

    type: Literal["completed"] = "completed"


class JobFailed(JobEnded):
    """The job ended without a model; the machine is gone."""

    type: Literal["failed"] = "failed"


class JobCancelled(JobEnded):
    """The user ended the job; the machine is gone."""

    type: Literal["cancelled"] = "cancelled"


AnyJobEvent = Annotated[
    JobQueued
    | ProvisioningStarted
    | MachineProvisioned
    | PreparationStarted
    | TrainingStarted
    | SavingStarted
    | LandingStarted
    | CostSettled
    | OrphanCostBooked
    | TerminationStarted
    | TerminationStalled
    | JobRequeued
    | JobCompleted
    | JobFailed
    | JobCancelled,
    Field(discriminator="type"),
]


class PodEvent(Event):
    """A fact that a pod reported, told by the metrics service. It wakes the deployer, which then looks for itself."""

    aggregate = "pod"

    job_id: Identifier
    attempt: int = Field(ge=1)

    @property
    def aggregate_id(self) -> str:
        """The job whose pod spoke."""
        return self.job_id


class PodPhaseChanged(PodEvent):
    """The trainer entered another phase."""

    type: Literal["phase_changed"] = "phase_changed"
    phase: Literal["preparing", "training", "saving"]


class PodExited(PodEvent):
    """The trainer said that it ends, and how."""

    type: Literal["exited"] = "exited"
    exit_code: int
    reason: str


class LossTroubled(PodEvent):
    """The loss of a training grows instead of falling, or is no number any more."""

    type: Literal["loss_troubled"] = "loss_troubled"
    kind: Literal["diverging", "non_finite"]
    step: int
    detail: str


class PodDiagnosed(PodEvent):
    """It is known why an attempt, or the job while it waited for one, ended; the whole is `rpc.metrics.diagnosis`.

    Told once for each such end. `cause` is `unknown` when nothing matched; the others that were found follow.
    """

    type: Literal["diagnosed"] = "diagnosed"
    attempt: int = Field(ge=0, description="0: the job failed before its first attempt")
    reason: EndReason
    cause: str
    confidence: float = Field(ge=0, le=1)
    summary: str
    other_causes: list[str] = Field(default_factory=list)


class AlertRaised(PodEvent):
    """The trainer reported something that a person should know."""

    type: Literal["alert_raised"] = "alert_raised"
    level: Literal["warning", "error"]
    code: str
    message: str


AnyPodEvent = Annotated[
    PodPhaseChanged | PodExited | LossTroubled | PodDiagnosed | AlertRaised, Field(discriminator="type")
]


class DatasetEvent(Event):
    """A fact about a dataset version, told by the dataset gateway."""

    aggregate = "dataset"

    dataset_version_id: Identifier
    owner: str

    @property
    def aggregate_id(self) -> str:
        """The dataset version."""
        return self.dataset_version_id


class DatasetVersionStored(DatasetEvent):
    """The bytes are safe and the whole file has been checked without a fault."""

    type: Literal["stored"] = "stored"
    sha256: str
    size_bytes: int
    rows: int


class DatasetVersionRejected(DatasetEvent):
    """The whole file has been checked and has faults; nothing can be trained from it."""

    type: Literal["rejected"] = "rejected"
    faults: int


class ArtifactEvent(Event):
    """A fact about what a job produced, told by the dataset gateway."""

    aggregate = "artifact"

    job_id: Identifier
    attempt: int = Field(ge=1)
    artifact_id: Identifier

    @property
    def aggregate_id(self) -> str:
        """The job that produced it."""
        return self.job_id


class ArtifactStored(ArtifactEvent):
    """A file of the result is stored whole and its checksum was compared."""

    type: Literal["stored"] = "stored"
    name: str
    sha256: str
    size_bytes: int


ArtifactDeletion = Literal["owner", "retention", "superseded"]
"""Who wanted it gone: its owner, the rules of retention, or the trainer, which has stored newer checkpoints."""


class ArtifactDeleted(ArtifactEvent):
    """A file is in no list any more and cannot be fetched."""

    type: Literal["deleted"] = "deleted"
    name: str
    sha256: str
    size_bytes: int
    why: ArtifactDeletion


EVENTS: tuple[type[Event], ...] = (
    JobQueued,
    ProvisioningStarted,
    MachineProvisioned,
    PreparationStarted,
    TrainingStarted,
    SavingStarted,
    LandingStarted,
    CostSettled,
    OrphanCostBooked,
    TerminationStarted,
    TerminationStalled,
    JobRequeued,
    JobCompleted,
    JobFailed,
    JobCancelled,
    PodPhaseChanged,
    PodExited,
    LossTroubled,
    PodDiagnosed,
    AlertRaised,
    DatasetVersionStored,
    DatasetVersionRejected,
    ArtifactStored,
    ArtifactDeleted,
)

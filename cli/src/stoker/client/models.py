"""What the api answers. Fields of newer servers are kept, not refused; those of older ones have defaults."""

from datetime import datetime

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from stoker_shared.job_state import TERMINAL
from stoker_shared.money import MicroUsd, cost_of
from stoker_shared.recipe import Recipe
from stoker_shared.rpc.dataset_gateway import ArtifactFacts, DatasetFacts
from stoker_shared.rpc.deployer import ModelFacts, Offer
from stoker_shared.rpc.notifications import TargetFacts


class Answer(BaseModel):
    """Base of answers."""

    model_config = ConfigDict(frozen=True, extra="allow", protected_namespaces=())


class Account(Answer):
    """The user that a key belongs to."""

    user_id: str
    name: str = ""
    key_name: str = ""
    key_expires_at: datetime | None = None


class Dataset(DatasetFacts):
    """All that is known of one dataset version."""

    model_config = ConfigDict(frozen=True, extra="allow", protected_namespaces=())

    owner: str = ""


class UploadTicket(Answer):
    """Where to send the bytes; nothing needs to be sent if the content is stored already."""

    dataset_version_id: str
    already_stored: bool
    upload_url: str | None = None
    upload_token: str | None = Field(default=None, repr=False)
    expires_at: AwareDatetime | None = None


class MachineWord(Answer):
    """What a job's machine last said. `is_available` False: nobody can tell now, and `detail` says why."""

    is_available: bool = True
    detail: str = ""
    phase: str | None = None
    step: int = 0
    total_steps: int = 0
    seconds_left: float | None = None
    tokens_per_second: float | None = None


class QueuePosition(Answer):
    """Where a queued job stands among all that wait, 1 for the first, and what it waits for."""

    position: int
    ahead: int = 0
    reason: str = ""


class AttemptBill(Answer):
    """What the provider's books say of an attempt, beside what it was estimated at until they did."""

    attempt: int
    estimated_micro_usd: int
    billed_micro_usd: int


class JobCause(Answer):
    """Why a job failed, in one line."""

    cause: str
    summary: str
    confidence: float = 0


class Job(Answer):
    """One launched plan. `spent_micro_usd` leaves out what the machine costs since `billing_started_at`."""

    job_id: str
    status: str
    plan_id: str | None = None
    name: str = ""
    attempt: int = 0
    provider: str | None = None
    gpu_type: str | None = None
    reason: str | None = None
    message: str = ""
    advice: str = ""
    detail: str = ""
    spent_micro_usd: int = 0
    price_micro_usd_per_hour: int = 0
    billing_started_at: AwareDatetime | None = None
    budget_micro_usd: int | None = None
    created_at: AwareDatetime | None = None
    progress: MachineWord | None = None
    queue: QueuePosition | None = None
    bills: list[AttemptBill] = Field(default_factory=list)
    diagnosed: JobCause | None = None

    @property
    def is_over(self) -> bool:
        """Whether nothing can follow."""
        return self.status in TERMINAL

    def cost_at(self, now: datetime) -> MicroUsd:
        """What it has cost by `now`, in micro-dollars."""
        if self.billing_started_at is None:
            return MicroUsd(self.spent_micro_usd)
        running = cost_of(now - self.billing_started_at, MicroUsd(self.price_micro_usd_per_hour))
        return MicroUsd(self.spent_micro_usd + running)


class Fault(Answer):
    """One thing that blocks a launch, or that is worth knowing."""

    code: str
    message: str
    next_step: str = ""


class RankedOffer(Answer):
    """An offer and whether the run fits into it. Bytes are those of one device."""

    offer: Offer
    fit: str = "unknown"
    needed_bytes: int | None = None
    capacity_bytes: int | None = None


class Fit(Answer):
    """What the run needs on the best offer's kind of device; `need` says in bytes what for."""

    need: dict[str, int]
    total_bytes: int
    needed_bytes: int
    on_gpu: bool = False


class TokenLengths(Answer):
    """How long rows are in tokens before any is cut; an estimate unless the base model's own tokenizer counted.

    `truncated_share` is the share of rows that are cut, None if nobody knows.
    """

    p50: int
    p95: int
    max: int
    total: int
    truncated_share: float | None = None
    rows: int = 0
    rows_measured: int = 0
    is_counted: bool = False
    basis: str = ""


class Forecast(Answer):
    """What the best offer would take, from lucky to unlucky."""

    seconds_low: int
    seconds_high: int
    cost_micro_usd_low: int
    cost_micro_usd_high: int
    keep_alive_seconds: int = 0
    tokens: int = 0
    steps: int = 0
    basis: str = ""


class Budget(Answer):
    """What the job may cost in all its attempts, and what one attempt reserves."""

    budget_micro_usd: int
    minimum_micro_usd: int = 0
    is_default: bool = False


class Disk(Answer):
    """What the run needs on the machine's disk, by what occupies it, and the volume that it gets."""

    need: dict[str, int]
    total_bytes: int
    least_volume_gb: int
    volume_size_gb: int | None = None


class Plan(Answer):
    """A frozen plan: what would run, where, and what it would cost. Launched by its id and hash."""

    plan_id: str
    plan_hash: str
    is_launchable: bool
    blocking: list[Fault] = Field(default_factory=list)
    warnings: list[Fault] = Field(default_factory=list)
    dataset: Dataset | None = None
    model: ModelFacts | None = None
    tokens: TokenLengths | None = None
    fit: Fit | None = None
    disk: Disk | None = None
    offers: list[RankedOffer] = Field(default_factory=list)
    forecast: Forecast | None = None
    budget: Budget | None = None
    expires_at: AwareDatetime | None = None


class ArtifactDownload(Answer):
    """An address that is good for one file until `expires_at`."""

    download_url: str = Field(repr=False)
    expires_at: AwareDatetime
    artifact: ArtifactFacts


class DatasetPage(Answer):
    """Newest first."""

    datasets: list[Dataset]


class JobPage(Answer):
    """Newest first."""

    jobs: list[Job]


class Deployment(Answer):
    """The job that was launched in one call, and its plan."""

    job: Job
    plan_id: str
    plan_hash: str
    warnings: list[Fault] = Field(default_factory=list)


class SavedRecipe(Answer):
    """One version of a saved recipe."""

    recipe_id: str
    name: str
    version: int
    recipe: Recipe
    created_at: AwareDatetime


class RecipePage(Answer):
    """Newest first."""

    recipes: list[SavedRecipe]


class TargetMade(Answer):
    """A notification target that was made, or has a new signing secret, which is told here and never again."""

    target: TargetFacts
    signing_secret: str | None = Field(default=None, repr=False)

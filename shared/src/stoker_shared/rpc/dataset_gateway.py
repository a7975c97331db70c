"""What the dataset gateway answers: uploads, facts about datasets, download tokens, artifacts."""

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import AwareDatetime, Field, StringConstraints

from stoker_shared.identifiers import Identifier
from stoker_shared.messages import Message
from stoker_shared.recipe import Conversion, DataFormat
from stoker_shared.rpc.contract import Empty, Rpc

SERVICE = "dataset_gateway"

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
DatasetState = Literal["uploading", "checking", "stored", "rejected"]


class OpenUpload(Message):
    """A user wants to upload a file with this content."""

    owner: str
    name: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]
    filename: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=255)]
    size_bytes: int = Field(ge=0)
    sha256: Sha256
    convert: bool = Field(default=True, description="Take rows of a shape that can be converted without a loss")


class UploadOpened(Message):
    """Where to send the bytes, by tus 1.0. If the owner has stored the same content before, nothing needs to be sent.

    An unfinished upload of the same file is opened again: HEAD on `upload_url` tells where to go on.
    """

    dataset_version_id: Identifier
    already_stored: bool
    upload_url: str | None = None
    upload_token: str | None = None
    expires_at: AwareDatetime | None = None


class RowFault(Message):
    """One thing that is wrong with one row, or worth a warning.

    `line` counts lines of the file from 1 and is 0 where there are none (Parquet, Arrow); `row` counts rows from 1.
    Both are 0 for the file as a whole.
    """

    line: int
    row: int = 0
    column: str = ""
    code: str
    message: str
    excerpt: str = ""


class DatasetStatistics(Message):
    """Figures over all rows. Characters, since the tokenizer is known only with the recipe.

    `held_out_rows` is how many rows the recipe's default split keeps from training; `held_out_twins` of them also are
    among the rows trained on, `held_out_shared_prompts` have a prompt that is trained on with another answer.
    `is_exact` is False if the file has more rows than duplicates and the split are followed for.
    """

    rows: int = 0
    characters_p50: int = 0
    characters_p95: int = 0
    characters_max: int = 0
    characters_total: int = 0
    duplicate_rows: int = 0
    empty_turns: int = 0
    held_out_rows: int = 0
    held_out_twins: int = 0
    held_out_shared_prompts: int = 0
    is_exact: bool = True


class DatasetFacts(Message):
    """All that is known of one dataset version."""

    dataset_version_id: Identifier
    owner: str
    name: str
    filename: str
    state: DatasetState
    sha256: Sha256
    size_bytes: int
    created_at: AwareDatetime
    data_format: DataFormat | None = None
    conversion: Conversion | None = Field(default=None, description="Applied when the rows are read; docs/datasets.md")
    fits_methods: list[str] = Field(default_factory=list)
    statistics: DatasetStatistics = DatasetStatistics()
    faults_total: int = 0
    fault_counts: dict[str, int] = Field(default_factory=dict)
    faults: list[RowFault] = Field(default_factory=list, description="The first ones; faults_total counts all")
    warning_counts: dict[str, int] = Field(default_factory=dict, description="Rows by what is worth knowing of them")
    warnings: list[RowFault] = Field(default_factory=list, description="The first ones; they stop nothing")
    sample: str = ""


class UploadProblem(Message):
    """Why an upload ended without a stored version."""

    code: str
    status: int
    title: str
    detail: str
    next_step: str = ""
    trace_id: str = Field(default="", description="Of this answer")


class UploadStatus(Message):
    """How far an upload is. `facts` are there when the check has ended, `problem` when nothing was stored."""

    state: Literal["receiving", "checking", "stored", "rejected", "failed"]
    offset_bytes: int
    size_bytes: int
    checked_bytes: int = 0
    expires_at: AwareDatetime | None = Field(default=None, description="When bytes that have come are forgotten")
    facts: DatasetFacts | None = None
    problem: UploadProblem | None = None


class DescribeDataset(Message):
    """Ask for one version; `not_found` if it belongs to somebody else."""

    owner: str
    dataset_version_id: Identifier


class MeasureTokens(Message):
    """Ask how long the rows of a stored version are in tokens of a base model; those above `max_length` are cut.

    `name_or_path` is the recipe's; only a folder that the gateway can read gives exact figures.
    """

    owner: str
    dataset_version_id: Identifier
    name_or_path: str
    max_length: int = Field(ge=1)


class TokenStatistics(Message):
    """Tokens a row. `truncated_share` is None if only an estimate says that some rows may be too long.

    `is_exact` tells whether the model's own tokenizer counted; `basis` says by what else, and on which rows.
    """

    rows: int
    rows_measured: int
    tokens_p50: int
    tokens_p95: int
    tokens_max: int
    tokens_total: int = Field(description="Of all rows; scaled up if not all were measured")
    truncated_share: float | None = Field(default=None, ge=0, le=1)
    is_exact: bool
    basis: str
    rendered_sample: str = Field(default="", description="The first row as the chat template writes it")


class ListDatasets(Message):
    """Ask for the newest versions of an owner."""

    owner: str
    limit: int = Field(default=100, ge=1, le=1000)


class DatasetList(Message):
    """Newest first."""

    datasets: list[DatasetFacts]


class MintDownload(Message):
    """Let one attempt fetch one dataset version and store artifacts.

    May be called again for the same attempt (a deployer that lost the answer): each call adds a download token and
    a job token, all of which end with the attempt.
    """

    job_id: Identifier
    attempt: int = Field(ge=1)
    owner: str
    dataset_version_id: Identifier
    job_token_sha256: Sha256
    download_lifetime_seconds: int = Field(default=7200, ge=60)
    job_token_expires_at: AwareDatetime


class DownloadMinted(Message):
    """The URL with its token, told once and stored nowhere."""

    download_url: str
    sha256: Sha256
    size_bytes: int
    filename: str
    data_format: DataFormat
    conversion: Conversion | None = None
    expires_at: AwareDatetime


class RevokeAttempt(Message):
    """The attempt is over: its tokens open nothing any more. Unknown attempts are no error."""

    job_id: Identifier
    attempt: int = Field(ge=1)
    another_follows: bool = Field(default=False, description="The job goes on: what it needs for that is kept")


class ListArtifacts(Message):
    """What a job has stored; of all attempts, or of one."""

    owner: str
    job_id: Identifier
    attempt: int | None = None


class ArtifactFacts(Message):
    """One stored file."""

    artifact_id: Identifier
    job_id: Identifier
    attempt: int
    name: str
    sha256: Sha256
    size_bytes: int
    created_at: AwareDatetime


class ArtifactList(Message):
    """Sorted by name."""

    artifacts: list[ArtifactFacts]


class OpenArtifact(Message):
    """A user wants to fetch one file."""

    owner: str
    artifact_id: Identifier


class ArtifactOpened(Message):
    """A URL that works until `expires_at`, for this file alone."""

    artifact: ArtifactFacts
    download_url: str
    expires_at: AwareDatetime


class DeleteArtifact(Message):
    """A user does not want this file any more; `not_found` if it belongs to somebody else."""

    owner: str
    artifact_id: Identifier


class TrainerBundleQuery(Message):
    """Ask for the bundle that new attempts get."""


class TrainerBundleFacts(Message):
    """The trainer's sources as a wheel. `url` wants the bearer job token of any live attempt."""

    version: str
    sha256: Sha256
    size_bytes: int
    url: str


OPEN_UPLOAD = Rpc(SERVICE, "open_upload", OpenUpload, UploadOpened, callers=("api",))
DESCRIBE = Rpc(SERVICE, "describe", DescribeDataset, DatasetFacts, callers=("api", "deployer"))
LIST = Rpc(SERVICE, "list", ListDatasets, DatasetList, callers=("api",))
MINT = Rpc(SERVICE, "mint", MintDownload, DownloadMinted, callers=("deployer",), timeout=timedelta(seconds=10))
REVOKE = Rpc(SERVICE, "revoke", RevokeAttempt, Empty, callers=("deployer",), timeout=timedelta(seconds=10))
LIST_ARTIFACTS = Rpc(SERVICE, "list_artifacts", ListArtifacts, ArtifactList, callers=("api", "deployer"))
OPEN_ARTIFACT = Rpc(SERVICE, "open_artifact", OpenArtifact, ArtifactOpened, callers=("api",))
DELETE_ARTIFACT = Rpc(SERVICE, "delete_artifact", DeleteArtifact, Empty, callers=("api",))
TRAINER_BUNDLE = Rpc(SERVICE, "trainer_bundle", TrainerBundleQuery, TrainerBundleFacts, callers=("deployer",))

TOKEN_STATISTICS = Rpc(
    SERVICE, "token_statistics", MeasureTokens, TokenStatistics, callers=("api",), timeout=timedelta(seconds=40)
)

DATASET_GATEWAY = (
    OPEN_UPLOAD,
    DESCRIBE,
    LIST,
    TOKEN_STATISTICS,
    MINT,
    REVOKE,
    LIST_ARTIFACTS,
    OPEN_ARTIFACT,
    DELETE_ARTIFACT,
    TRAINER_BUNDLE,
)

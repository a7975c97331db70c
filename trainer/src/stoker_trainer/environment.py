"""The variables a pod is started with. Their names are fixed; others rely on them."""

from collections.abc import Mapping, MutableMapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated
from urllib.parse import parse_qs, urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, StringConstraints, ValidationError

from stoker_trainer.errors import InvalidEnvironment

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
Seconds = Annotated[float, Field(gt=0, le=86_400)]


class PodEnvironment(BaseModel):
    """What a pod needs to know. Seconds may be fractions."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    JOB_ID: Text
    JOB_TOKEN: SecretStr = Field(min_length=1)
    JOB_ATTEMPT: int = Field(ge=1)
    USER_ID: Text
    MODEL_NAME: Text
    DATASET_URL: SecretStr = Field(min_length=1)
    DATASET_SHA256: Annotated[str, StringConstraints(pattern=r"^[0-9a-fA-F]{64}$")]
    DATASET_FILENAME: Text
    METRICS_API_URL: Text
    ALERT_API_URL: Text
    ARTIFACTS_API_URL: Text
    RESUME_CHECKPOINTS: bool = True
    TRAINING_CONFIG: Text
    WORKSPACE: Path = Path("/workspace")
    DEFAULT_DATALOADER_NUM_WORKERS: int = Field(default=4, ge=0, le=256)
    DEFAULT_DATALOADER_PREFETCH_FACTOR: int = Field(default=2, ge=1, le=256)
    DEFAULT_PRETOKENIZE: bool = True
    HF_TOKEN: SecretStr | None = None
    STOKER_HEARTBEAT_SECONDS: Seconds = 10
    STOKER_REPORT_SECONDS: Seconds = 1
    STOKER_RETRY_SECONDS: Seconds = 600
    STOKER_FAILURE_FLUSH_SECONDS: Seconds = 60
    STOKER_CHECKPOINT_FLUSH_SECONDS: Seconds = 8
    """A machine that is told to end gets a last checkpoint away in this time, or not at all."""
    STOKER_LANDING_SECONDS: Seconds = 300
    """The same for a machine that ends itself and said so (SIGUSR1)."""
    STOKER_SEND_LOGS: bool = True
    """False where somebody else sends all that is printed here."""

    @property
    def retry_for(self) -> timedelta:
        """How long download, upload and the last reports of a success are tried again."""
        return timedelta(seconds=self.STOKER_RETRY_SECONDS)

    @property
    def renewal_url(self) -> str:
        """Where a fresh address of the dataset is to be had: beside the artifacts of the job."""
        return f"{self.ARTIFACTS_API_URL.rstrip('/').removesuffix('/artifacts')}/downloads"

    @property
    def checkpoints_url(self) -> str:
        """Where checkpoints of earlier attempts are: beside the artifacts of the job."""
        return f"{self.ARTIFACTS_API_URL.rstrip('/').removesuffix('/artifacts')}/checkpoints"

    @property
    def secrets(self) -> list[str]:
        """Values that may never be printed."""
        url = self.DATASET_URL.get_secret_value()
        tokens = [value for values in parse_qs(urlsplit(url).query).values() for value in values if len(value) > 15]
        given = [self.JOB_TOKEN.get_secret_value(), self.HF_TOKEN.get_secret_value() if self.HF_TOKEN else ""]
        return [*given, *tokens]


def read_environment(variables: Mapping[str, str]) -> PodEnvironment:
    """Check all variables at once. Raises InvalidEnvironment naming each bad one, never its value."""
    try:
        return PodEnvironment.model_validate(
            {name: variables[name] for name in PodEnvironment.model_fields.keys() & variables.keys()}
        )
    except ValidationError as error:
        faults = [f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors(include_input=False)]
        raise InvalidEnvironment("the pod's environment is not usable: " + "; ".join(faults)) from error


def hide_secrets(variables: MutableMapping[str, str]) -> None:
    """Take out of the environment what only this process needs, so that no child and no dump has it.

    HF_TOKEN stays: the hub's client reads it from there.
    """
    for name in ("JOB_TOKEN", "DATASET_URL"):
        variables.pop(name, None)

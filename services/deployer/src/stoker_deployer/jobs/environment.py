"""What a pod sees: exactly the names of docs/architecture.md, and the user's own variables."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import SecretStr

from stoker_deployer.retrying.refit import DeviceBatch
from stoker_shared.commands import LaunchJob
from stoker_shared.pod_variables import is_reserved
from stoker_shared.recipe import training_config
from stoker_shared.rpc.dataset_gateway import DownloadMinted

_DEFAULTS = {
    "DEFAULT_DATALOADER_NUM_WORKERS": "4",
    "DEFAULT_DATALOADER_PREFETCH_FACTOR": "2",
    "DEFAULT_PRETOKENIZE": "true",
}
_VARIABLE_NAME = re.compile(r"^[A-Za-z_][A-Za-z0-9_]*$")


@dataclass(frozen=True, slots=True)
class PublicUrls:
    """Where pods reach the two services that they speak to."""

    metrics: str
    gateway: str


def environment_faults(users: Mapping[str, str]) -> str:
    """What is wrong with a user's variables, empty if nothing is. Names only, since values may be secrets."""
    reserved = sorted(filter(is_reserved, users))
    if reserved:
        return f"These environment variables have names that Stoker keeps for itself: {', '.join(reserved)}."
    unusable = sorted(name for name in users if not _VARIABLE_NAME.match(name))
    if unusable:
        return f"These are no names of environment variables: {', '.join(map(repr, unusable))}."
    return ""


def pod_environment(  # noqa: PLR0913 - each is a fact of its own
    launch: LaunchJob,
    *,
    attempt: int,
    token: SecretStr,
    minted: DownloadMinted,
    urls: PublicUrls,
    batch: DeviceBatch | None = None,
    may_resume: bool = True,
    secrets: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """The whole environment of the attempt's pod. It holds tokens: hand it to the provider and to nobody else.

    `batch` takes the place of the recipe's, for other devices than those planned with. `secrets` are the variables of
    those that the launch asked for by name.
    """
    metrics, gateway = urls.metrics.rstrip("/"), urls.gateway.rstrip("/")
    config = training_config(launch.recipe, data_format=launch.data_format, conversion=minted.conversion)
    if batch is not None:
        config["batch"] |= {"per_device": batch.per_device, "gradient_accumulation": batch.accumulation}
    return {
        **launch.environment,
        **(secrets or {}),
        **_DEFAULTS,
        "JOB_ID": launch.job_id,
        "JOB_TOKEN": token.get_secret_value(),
        "JOB_ATTEMPT": str(attempt),
        "USER_ID": launch.owner,
        "MODEL_NAME": launch.recipe.model.name_or_path,
        "DATASET_URL": minted.download_url,
        "DATASET_SHA256": minted.sha256,
        "DATASET_FILENAME": minted.filename,
        "METRICS_API_URL": f"{metrics}/v1/jobs/{launch.job_id}/metrics",
        "ALERT_API_URL": f"{metrics}/v1/jobs/{launch.job_id}/alerts",
        "ARTIFACTS_API_URL": f"{gateway}/v1/jobs/{launch.job_id}/artifacts",
        "RESUME_CHECKPOINTS": "true" if may_resume else "false",
        "TRAINING_CONFIG": json.dumps(config, separators=(",", ":")),
    }

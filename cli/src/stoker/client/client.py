"""The Python client of Stoker."""

import uuid
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from decimal import Decimal
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Any, Self, TypeVar

from pydantic import BaseModel, SecretStr

from stoker.client.calls import segment
from stoker.client.diagnosing import DiagnosisCalls
from stoker.client.errors import (
    AnswerNotUnderstood,
    DatasetRejected,
    InvalidRequest,
    PlanBlocked,
)
from stoker.client.following import Follower
from stoker.client.http import RetryPolicy, open_http, parsed
from stoker.client.models import (
    Account,
    ArtifactDownload,
    Dataset,
    DatasetPage,
    Deployment,
    Job,
    JobPage,
    Plan,
    RecipePage,
    SavedRecipe,
    UploadTicket,
)
from stoker.client.news import JobNews
from stoker.client.notifications import NotificationCalls
from stoker.client.reading import ReadingCalls
from stoker.client.server import Server, find_server, is_loopback
from stoker.client.transfer import FileFacts, Progress, download, hash_file
from stoker.client.uploading import Upload
from stoker_shared.recipe import ModelChoice, Recipe
from stoker_shared.rpc.dataset_gateway import ArtifactFacts, ArtifactList
from stoker_shared.rpc.deployer import (
    BudgetFacts,
    BudgetList,
    MachineLogs,
    OfferList,
    ProvidersHealth,
    SecretFacts,
    SecretList,
)

ModelT = TypeVar("ModelT", bound=BaseModel)

UploadProgress = Callable[[str, int, int], None]
"""Told as (what is done: "hashing", "sending" or "checking", bytes done, bytes in all)."""


class Client(ReadingCalls, DiagnosisCalls, NotificationCalls):
    """Talks to one Stoker server. Finds it by itself where a local stack runs or the environment names one.

    Calls that get no answer are repeated for `retry.give_up_after`; all of them can be repeated without harm.
    Every error is a `stoker.client.errors.ClientError`.
    """

    def __init__(
        self,
        url: str | None = None,
        api_key: str | None = None,
        *,
        data_dir: Path | None = None,
        retry: RetryPolicy | None = None,
    ) -> None:
        self.server: Server = find_server(url, api_key, data_dir=data_dir)
        self._retry = retry or RetryPolicy()
        key = self.server.api_key.get_secret_value()
        self._http = open_http(self.server.url, headers={"Authorization": f"Bearer {key}"})

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the connections back."""
        self._http.close()

    def me(self) -> Account:
        """Who the key belongs to."""
        return self._get(Account, "/v1/me")

    # ---- datasets

    def upload_dataset(
        self,
        file: str | Path,
        *,
        name: str | None = None,
        convert: bool = True,
        progress: UploadProgress | None = None,
    ) -> Dataset:
        """Hash a file, send it to the gateway and wait for its check. Bytes that are there are not sent again.

        An upload that was interrupted, in this call or in an earlier one, goes on where it stopped.

        Args:
            file: the file.
            name: what to call it; else the name of the file.
            convert: take rows of other known forms, such as ShareGPT's, where nothing is lost by it.
            progress: is told how far it is.

        Raises:
            DatasetRejected: rows have faults; `faults` has their line numbers.
            InvalidRequest: the bytes that arrived were not those of the file when it was hashed.
            FileUnreadable: there is no such file.
        """
        path = Path(file).expanduser()
        facts = hash_file(path, progress=_named("hashing", progress))
        content = {
            "name": name or path.name.split(".")[0] or path.name,
            "filename": path.name,
            "size_bytes": facts.size_bytes,
            "sha256": facts.sha256,
            "convert": convert,
        }
        ticket = self._post(UploadTicket, "/v1/datasets", content)
        if not ticket.already_stored:
            self._send_bytes(facts, ticket, progress)
        return self.dataset(ticket.dataset_version_id)

    def datasets(self) -> list[Dataset]:
        """The newest dataset versions."""
        return self._get(DatasetPage, "/v1/datasets").datasets

    def dataset(self, dataset_version_id: str) -> Dataset:
        """One dataset version with its faults and figures."""
        return self._get(Dataset, f"/v1/datasets/{segment(dataset_version_id)}")

    # ---- plans

    def plan(
        self,
        dataset: Dataset | str,
        *,
        model: str | None = None,
        recipe: Recipe | Mapping[str, Any] | None = None,
        recipe_id: str | None = None,
        provider: str = "local",
        budget_usd: Decimal | str | None = None,
        **limits: Any,
    ) -> Plan:
        """Check and price a training run, and freeze it. Give a `model` for the default recipe, or a recipe.

        Args:
            dataset: what `upload_dataset` returned, or its id.
            model: a folder on the training machine, or a name on the Hugging Face Hub.
            recipe: how to train.
            recipe_id: a saved recipe instead.
            provider: who gives the machine.
            budget_usd: the most that the job may cost; None leaves it to the server.
            limits: `gpu_type`, `gpu_count`, `max_attempts`, `max_duration_seconds`, `project`,
                `max_price_usd_per_hour`, `keep_alive_seconds`, `environment`, ...

        Raises:
            InvalidRequest: a field does not have the right form.
        """
        if recipe is None and recipe_id is None and model is not None:
            recipe = Recipe(model=ModelChoice(name_or_path=self.model_name(model)))
        content: dict[str, Any] = {
            "dataset_version_id": dataset if isinstance(dataset, str) else dataset.dataset_version_id,
            "recipe": recipe.model_dump(mode="json") if isinstance(recipe, Recipe) else recipe,
            "recipe_id": recipe_id,
            "provider": provider,
            "budget_usd": str(budget_usd) if budget_usd is not None else None,
            **limits,
        }
        return self._post(Plan, "/v1/plans", {name: value for name, value in content.items() if value is not None})

    def model_name(self, name_or_path: str) -> str:
        """How the server finds a base model: a folder beside the server on this machine by its whole path."""
        folder = Path(name_or_path).expanduser()
        is_here = is_loopback(self.server.url) and folder.exists()
        return str(folder.absolute()) if is_here else name_or_path

    def save_recipe(self, name: str, recipe: Recipe) -> SavedRecipe:
        """Keep a recipe under a name; a name that is there gets another version."""
        return self._post(SavedRecipe, "/v1/recipes", {"name": name, "recipe": recipe.model_dump(mode="json")})

    def recipes(self) -> list[SavedRecipe]:
        """The saved recipes, newest first."""
        return self._get(RecipePage, "/v1/recipes").recipes

    def get_plan(self, plan_id: str) -> Plan:
        """The plan as it was frozen."""
        return self._get(Plan, f"/v1/plans/{segment(plan_id)}")

    # ---- jobs

    def launch(self, plan: Plan | str, *, idempotency_key: str | None = None, priority: int = 0) -> Job:
        """Run a plan. The same key never launches twice; without one, this call alone is protected.

        Of jobs that wait, those of higher `priority` (-10 to 10) begin first.

        Raises:
            PlanBlocked: the plan has faults.
            Conflicting: the plan is stale: prices, offers or the dataset have changed.
        """
        found = self.get_plan(plan) if isinstance(plan, str) else plan
        if not found.is_launchable:
            raise PlanBlocked(found.plan_id, [f"{fault.message} {fault.next_step}" for fault in found.blocking])
        return self._post(
            Job,
            "/v1/jobs",
            {"plan_id": found.plan_id, "plan_hash": found.plan_hash, **({"priority": priority} if priority else {})},
            headers={"Idempotency-Key": idempotency_key or uuid.uuid4().hex},
        )

    def deploy(self, provider: str, **request: Any) -> Deployment:
        """Plan and launch in one call; `request` is the body of `POST /v1/training/deploy/{provider}`.

        If no answer comes it is sent again, under the same idempotency key: it launches once.

        Raises:
            InvalidRequest: the plan is blocked; `fields` says by what.
        """
        path = f"/v1/training/deploy/{segment(provider)}"
        return self._post(Deployment, path, request, headers={"Idempotency-Key": uuid.uuid4().hex})

    def jobs(self) -> list[Job]:
        """The newest jobs."""
        return self._get(JobPage, "/v1/jobs").jobs

    def job(self, job_id: str) -> Job:
        """One job as it stands now."""
        return self._get(Job, f"/v1/jobs/{segment(job_id)}")

    def cancel(self, job_id: str) -> Job:
        """Ask for the job to end. It is over when its machine is gone: follow it to see.

        Raises:
            Conflicting: it is over already.
        """
        return self._post(Job, f"/v1/jobs/{segment(job_id)}/cancel", None)

    def follow(self, job_id: str, *, give_up_after: timedelta = timedelta(minutes=5)) -> Iterator[JobNews]:
        """What happens to a job, from its beginning to its end, each thing once, across restarts of the server."""
        follower = Follower(self._http, segment(job_id), give_up_after=give_up_after)
        return follower.news()

    def machine_logs(self, job_id: str, *, offset: int = 0) -> MachineLogs:
        """What the provider itself kept of the machine's output."""
        return self._get(MachineLogs, f"/v1/jobs/{segment(job_id)}/machine-logs", params={"offset": offset})

    # ---- artifacts

    def artifacts(self, job_id: str) -> list[ArtifactFacts]:
        """What the job has stored."""
        return self._get(ArtifactList, f"/v1/jobs/{segment(job_id)}/artifacts").artifacts

    def download_artifact(self, artifact: ArtifactFacts, to: str | Path, *, progress: Progress | None = None) -> Path:
        """Fetch a file into a folder; its SHA-256 has been compared when this returns.

        Raises:
            DownloadDamaged: it differs; nothing is kept.
        """
        opened = self._post(ArtifactDownload, f"/v1/artifacts/{segment(artifact.artifact_id)}/download", None)
        return download(
            url=opened.download_url,
            target=Path(to).expanduser() / _safe_name(artifact.name),
            size_bytes=artifact.size_bytes,
            sha256=artifact.sha256,
            retry=self._retry,
            progress=progress,
        )

    def delete_artifact(self, artifact: ArtifactFacts | str) -> None:
        """Delete a stored file for good.

        Raises:
            NotFound: there is no such file, or it was deleted before.
        """
        identifier = artifact if isinstance(artifact, str) else artifact.artifact_id
        self._call("DELETE", f"/v1/artifacts/{segment(identifier)}")

    # ---- budgets

    def budgets(self) -> list[BudgetFacts]:
        """Your own budget, then those of your projects: limit, and what is held or spent of it."""
        return self._get(BudgetList, "/v1/budgets").budgets

    def set_budget(self, limit_usd: Decimal | str | None, *, project: str | None = None) -> BudgetFacts:
        """Set your own limit, or that of a project; None takes it away.

        Raises:
            InvalidRequest: not an amount, or not a name.
        """
        limit = str(limit_usd) if limit_usd is not None else None
        content = {"limit_usd": limit} if project is None else {"limit_usd": limit, "project": project}
        kind = "user" if project is None else "project"
        return parsed(BudgetFacts, self._call("PUT", f"/v1/budgets/{kind}", json=content))

    # ---- secrets

    def secrets(self) -> SecretList:
        """Which secrets are set, and which can be; never the secrets themselves."""
        return self._get(SecretList, "/v1/secrets")

    def set_secret(self, name: str, value: SecretStr) -> SecretFacts:
        """Have a key sealed, checked and used from the next attempt on.

        Raises:
            InvalidRequest: the place that it is for refuses it, or nothing uses a secret of this name.
        """
        return parsed(SecretFacts, self._call("PUT", f"/v1/secrets/{name}", json={"value": value.get_secret_value()}))

    def remove_secret(self, name: str) -> SecretList:
        """Use a secret no more. Returns those that are kept, also for machines that still run."""
        return parsed(SecretList, self._call("DELETE", f"/v1/secrets/{name}"))

    # ---- what there is to rent

    def offers(self) -> OfferList:
        """What can be rented now, cheapest first."""
        return self._get(OfferList, "/v1/offers")

    def providers(self) -> ProvidersHealth:
        """Whether the configured providers can be used."""
        return self._get(ProvidersHealth, "/v1/providers")

    def _send_bytes(self, facts: FileFacts, ticket: UploadTicket, progress: UploadProgress | None) -> None:
        if ticket.upload_url is None or ticket.upload_token is None:
            raise AnswerNotUnderstood(f"{self.server.url}/v1/datasets", "an upload without an address")
        upload = Upload(facts, url=ticket.upload_url, token=ticket.upload_token, retry=self._retry)
        status = upload.run(sending=_named("sending", progress), checking=_named("checking", progress))
        if status.state == "stored":
            return
        problem = status.problem.model_dump() if status.problem else {"detail": "The file was not stored."}
        if status.facts is None:
            raise InvalidRequest(status=422, problem=problem)
        raise DatasetRejected(
            status=422,
            problem=problem,
            faults=status.facts.faults,
            faults_total=status.facts.faults_total,
            version_id=status.facts.dataset_version_id,
        )


def _named(what: str, progress: UploadProgress | None) -> Progress | None:
    if progress is None:
        return None
    return lambda done, total: progress(what, done, total)


def _safe_name(name: str) -> str:
    parts = PurePosixPath(name).parts
    if not parts or ".." in parts or name.startswith("/") or "\\" in name:
        raise AnswerNotUnderstood("the list of artifacts", f"{name!r} is no name of a file")
    return str(PurePosixPath(*parts))

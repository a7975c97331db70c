"""The other services as far as the api sees them: they answer on the real bus, with rights of their own."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import uuid4

from nacl.public import PrivateKey

from stoker.stack.standalone import RunningNats
from stoker_shared.bus import Bus, answer
from stoker_shared.errors import NotFound, RemoteRefusal, StokerError
from stoker_shared.events import JobEvent
from stoker_shared.messages import Message
from stoker_shared.rpc.contract import Empty
from stoker_shared.rpc.dataset_gateway import (
    DELETE_ARTIFACT,
    DESCRIBE,
    LIST,
    LIST_ARTIFACTS,
    OPEN_ARTIFACT,
    OPEN_UPLOAD,
    TOKEN_STATISTICS,
    ArtifactFacts,
    ArtifactList,
    ArtifactOpened,
    DatasetFacts,
    DatasetList,
    DeleteArtifact,
    DescribeDataset,
    ListArtifacts,
    ListDatasets,
    MeasureTokens,
    OpenArtifact,
    OpenUpload,
    TokenStatistics,
    UploadOpened,
)
from stoker_shared.rpc.deployer import (
    BUDGETS,
    HEALTH,
    INSPECT_MODEL,
    LOGS,
    OFFERS,
    QUEUE,
    REMOVE_SECRET,
    SECRETS,
    SET_BUDGET,
    SET_SECRET,
    VAULT_KEY,
    BudgetFacts,
    BudgetList,
    BudgetsQuery,
    HealthQuery,
    InspectModel,
    MachineLogs,
    MachineLogsQuery,
    ModelFacts,
    Offer,
    OfferList,
    OffersQuery,
    ProviderHealth,
    ProvidersHealth,
    QueuePlace,
    QueuePlaces,
    QueueQuery,
    RemoveSecret,
    SecretFacts,
    SecretList,
    SecretsQuery,
    SetBudget,
    SetSecret,
    VaultKey,
    VaultKeyQuery,
)
from stoker_shared.rpc.diagnosis import DIAGNOSIS, Diagnosis, DiagnosisAnswer, DiagnosisQuery
from stoker_shared.rpc.metrics import (
    LINES,
    POINTS,
    REPORT,
    AttemptReport,
    Line,
    Lines,
    LinesQuery,
    Point,
    Points,
    PointsQuery,
    ReportRequest,
)
from stoker_shared.sealing import key_id_of, public_half
from tests.support.bus import bus_of, started
from tests.unit.api.examples import NOW, SHA256, SMOLLM2_135M, a_cpu_offer, a_dataset, counted_tokens

ARTIFACT_ID = "art-00000000000000cc"


@dataclass
class Peers:
    """What the peers know, to be changed by a test, and the questions that they were asked."""

    server: RunningNats
    datasets: dict[str, DatasetFacts] = field(default_factory=dict)
    artifacts: list[ArtifactFacts] = field(default_factory=list)
    offers: list[Offer] = field(default_factory=lambda: [a_cpu_offer()])
    model: ModelFacts = SMOLLM2_135M
    # An error is what the gateway answers.
    tokens: TokenStatistics | StokerError = field(default_factory=counted_tokens)
    # Counting takes until this is set.
    counted: asyncio.Event | None = None
    providers: list[ProviderHealth] = field(
        default_factory=lambda: [
            ProviderHealth(provider="local", is_usable=True, machines_are_here=True),
            ProviderHealth(provider="runpod", is_usable=True, default_volume_gb=40),
        ]
    )
    diagnosis: Diagnosis | None = None
    queue: list[QueuePlace] = field(default_factory=list)
    asked: list[Message] = field(default_factory=list)
    limits: list[SetBudget] = field(default_factory=list)
    vault_key: PrivateKey = field(default_factory=PrivateKey.generate)
    boxes: list[SetSecret] = field(default_factory=list)
    buses: dict[str, Bus] = field(default_factory=dict)
    _stacks: dict[str, AsyncExitStack] = field(default_factory=dict)

    def own_dataset(self, owner: str, **changes: Any) -> DatasetFacts:
        """Give a user a dataset."""
        facts = a_dataset(owner=owner, **changes)
        self.datasets[facts.dataset_version_id] = facts
        return facts

    async def start(self, service: str) -> None:
        """Bring a service up."""
        bus = bus_of(self.server, service)
        _REGISTER[service](self, bus)
        stack = AsyncExitStack()
        self.buses[service] = await stack.enter_async_context(started(bus))
        self._stacks[service] = stack

    async def stop(self, service: str) -> None:
        """Take a service away."""
        await self._stacks.pop(service).aclose()
        del self.buses[service]

    async def stop_all(self) -> None:
        """Take all away."""
        for service in list(self._stacks):
            await self.stop(service)

    async def tell(self, event: JobEvent) -> None:
        """Publish an event as the deployer does."""
        await self.buses["deployer"].publisher.publish(
            event.subject, event.model_dump_json().encode(), message_id=str(uuid4())
        )

    async def report(self, subject: str, message: Message) -> str:
        """Publish telemetry as the metrics service does. Returns the stream that acknowledged it."""
        acknowledgement = await self.buses["metrics"].publisher.publish(
            subject, message.model_dump_json().encode(), message_id=str(uuid4())
        )
        return acknowledgement.stream


@asynccontextmanager
async def running_peers(server: RunningNats) -> AsyncIterator[Peers]:
    """All peers, up."""
    peers = Peers(server)
    try:
        for service in _REGISTER:
            await peers.start(service)
        yield peers
    finally:
        await peers.stop_all()


def _register_gateway(peers: Peers, bus: Bus) -> None:
    async def open_upload(request: OpenUpload) -> UploadOpened:
        peers.asked.append(request)
        facts = peers.own_dataset(request.owner, name=request.name, sha256=request.sha256, state="uploading")
        return UploadOpened(
            dataset_version_id=facts.dataset_version_id,
            already_stored=False,
            upload_url="http://127.0.0.1:1/v1/uploads/upl-0000000000000001",
            upload_token="t" * 43,
            expires_at=NOW + timedelta(hours=1),
        )

    async def describe(request: DescribeDataset) -> DatasetFacts:
        peers.asked.append(request)
        facts = peers.datasets.get(request.dataset_version_id)
        if facts is None or facts.owner != request.owner:
            raise NotFound("dataset", request.dataset_version_id)
        return facts

    async def list_datasets(request: ListDatasets) -> DatasetList:
        return DatasetList(datasets=[facts for facts in peers.datasets.values() if facts.owner == request.owner])

    async def token_statistics(request: MeasureTokens) -> TokenStatistics:
        peers.asked.append(request)
        if peers.counted is not None:
            await peers.counted.wait()
        if isinstance(peers.tokens, StokerError):
            raise peers.tokens
        return peers.tokens

    answer(bus, TOKEN_STATISTICS, token_statistics)
    answer(bus, OPEN_UPLOAD, open_upload)
    answer(bus, DESCRIBE, describe)
    answer(bus, LIST, list_datasets)
    _register_artifacts(peers, bus)


def _register_artifacts(peers: Peers, bus: Bus) -> None:
    async def list_artifacts(request: ListArtifacts) -> ArtifactList:
        return ArtifactList(artifacts=[artifact for artifact in peers.artifacts if artifact.job_id == request.job_id])

    async def open_artifact(request: OpenArtifact) -> ArtifactOpened:
        peers.asked.append(request)
        for artifact in peers.artifacts:
            if artifact.artifact_id == request.artifact_id:
                url = "http://127.0.0.1:1/v1/artifacts/download?token=x"
                return ArtifactOpened(artifact=artifact, download_url=url, expires_at=NOW)
        raise NotFound("artifact", request.artifact_id)

    async def delete_artifact(request: DeleteArtifact) -> Empty:
        peers.asked.append(request)
        left = [artifact for artifact in peers.artifacts if artifact.artifact_id != request.artifact_id]
        if left == peers.artifacts:
            raise NotFound("artifact", request.artifact_id)
        peers.artifacts = left
        return Empty()

    answer(bus, LIST_ARTIFACTS, list_artifacts)
    answer(bus, OPEN_ARTIFACT, open_artifact)
    answer(bus, DELETE_ARTIFACT, delete_artifact)


def _register_deployer(peers: Peers, bus: Bus) -> None:
    async def offers(request: OffersQuery) -> OfferList:
        peers.asked.append(request)
        return OfferList(offers=[offer for offer in peers.offers if _is_asked_for(offer, request)])

    async def inspect_model(request: InspectModel) -> ModelFacts:
        peers.asked.append(request)
        if request.name_or_path != peers.model.name_or_path:
            raise RemoteRefusal(
                code="model_not_found",
                status=404,
                title="Not found",
                detail=f"{request.name_or_path} is not there.",
                next_step="Check the name.",
            )
        return peers.model

    async def health(request: HealthQuery) -> ProvidersHealth:
        peers.asked.append(request)
        return ProvidersHealth(providers=peers.providers)

    async def logs(request: MachineLogsQuery) -> MachineLogs:
        return MachineLogs(text=f"from {request.offset}", next_offset=request.offset + 10)

    answer(bus, OFFERS, offers)
    answer(bus, INSPECT_MODEL, inspect_model)
    answer(bus, HEALTH, health)

    async def queue(request: QueueQuery) -> QueuePlaces:
        peers.asked.append(request)
        places = [place for place in peers.queue if request.job_id in (None, place.job_id)]
        return QueuePlaces(waiting=len(peers.queue) + 1, places=places)

    answer(bus, LOGS, logs)
    answer(bus, QUEUE, queue)
    _register_budgets(peers, bus)
    _register_secrets(peers, bus)


def _register_budgets(peers: Peers, bus: Bus) -> None:
    async def budgets(request: BudgetsQuery) -> BudgetList:
        own = [limit for limit in peers.limits if limit.owner == request.owner]
        return BudgetList(budgets=[_budget(limit) for limit in own])

    async def set_budget(request: SetBudget) -> BudgetFacts:
        peers.limits.append(request)
        return _budget(request)

    answer(bus, BUDGETS, budgets)
    answer(bus, SET_BUDGET, set_budget)


def _register_secrets(peers: Peers, bus: Bus) -> None:
    public = public_half(peers.vault_key)

    async def vault_key(_request: VaultKeyQuery) -> VaultKey:
        return VaultKey(key_id=key_id_of(public), public_key=public)

    async def set_secret(request: SetSecret) -> SecretFacts:
        if request.name not in ("runpod", "huggingface", "wandb"):
            raise NotFound("secret", request.name)
        peers.boxes.append(request)
        return _secret(request)

    async def secrets(request: SecretsQuery) -> SecretList:
        return SecretList(secrets=[_secret(box) for box in peers.boxes if box.owner == request.owner])

    async def remove_secret(request: RemoveSecret) -> SecretList:
        left = [box for box in peers.boxes if (box.owner, box.name) != (request.owner, request.name)]
        if left == peers.boxes:
            raise NotFound("secret", request.name)
        peers.boxes = left
        return await secrets(SecretsQuery(owner=request.owner))

    answer(bus, VAULT_KEY, vault_key)
    answer(bus, SET_SECRET, set_secret)
    answer(bus, SECRETS, secrets)
    answer(bus, REMOVE_SECRET, remove_secret)


def _secret(box: SetSecret) -> SecretFacts:
    return SecretFacts(name=box.name, version=1, state="valid", hint="last", set_at=NOW, checked_at=NOW)


def _budget(limit: SetBudget) -> BudgetFacts:
    return BudgetFacts(kind=limit.kind, name=limit.name, limit_micro_usd=limit.limit_micro_usd)


def _register_metrics(peers: Peers, bus: Bus) -> None:
    async def report(request: ReportRequest) -> AttemptReport:
        return AttemptReport(
            job_id=request.job_id,
            attempt=request.attempt,
            phase="training",
            last_heard_at=NOW,
            step=3,
            total_steps=10,
            latest_values={"loss": 1.5},
        )

    async def points(request: PointsQuery) -> Points:
        peers.asked.append(request)
        return Points(
            attempt=1, points=[Point(sequence=request.after_sequence + 1, step=1, at=NOW, values={"loss": 2})]
        )

    async def lines(request: LinesQuery) -> Lines:
        line = Line(sequence=request.after_sequence + 1, at=NOW, stream="stdout", text="hello")
        return Lines(attempt=1, lines=[line])

    async def diagnosis(request: DiagnosisQuery) -> DiagnosisAnswer:
        peers.asked.append(request)
        return DiagnosisAnswer(diagnosis=peers.diagnosis)

    answer(bus, DIAGNOSIS, diagnosis)
    answer(bus, REPORT, report)
    answer(bus, POINTS, points)
    answer(bus, LINES, lines)


_REGISTER = {
    "dataset_gateway": _register_gateway,
    "deployer": _register_deployer,
    "metrics": _register_metrics,
}


def _is_asked_for(offer: Offer, request: OffersQuery) -> bool:
    return (
        request.provider in (None, offer.provider)
        and request.gpu_type in (None, offer.gpu_type)
        and request.gpu_count in (None, offer.gpu_count)
    )


def an_artifact(job_id: str) -> ArtifactFacts:
    """A stored file of a job."""
    return ArtifactFacts(
        artifact_id=ARTIFACT_ID, job_id=job_id, attempt=1, name="model.tar", sha256=SHA256, size_bytes=9, created_at=NOW
    )

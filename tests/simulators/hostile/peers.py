"""Metrics service and dataset gateway as a deployer asks them, and the pods that report to them, on the same clock.

Honest, but they can be away. A pod speaks with the token that it was launched with, until that is revoked.
"""

from collections import defaultdict
from collections.abc import Callable
from datetime import datetime
from typing import Any

from pydantic import SecretStr

from stoker_shared.clock import Clock
from stoker_shared.errors import NotFound, RemoteRefusal, ServiceUnavailable
from stoker_shared.recipe import DataFormat
from stoker_shared.rpc import dataset_gateway, metrics
from stoker_shared.rpc.contract import Empty, RequestT, ResponseT, Rpc
from stoker_shared.rpc.dataset_gateway import ArtifactFacts, ArtifactList, DownloadMinted
from stoker_shared.rpc.metrics import AttemptReport, AttemptReports, ExitFacts
from stoker_shared.tokens import token_hash
from tests.simulators.hostile.cloud import CloudMachine
from tests.simulators.hostile.line import Cut, Line

GONE_DATASET = "dataset-00000000000000ff"
SUCCESS = ("success", "success_unstored")
LANDED = ("landed", "landed_unstored")
STORED = ("success", "landed")
PHASES = ("preparing", "training", "saving")

Key = tuple[str, int]


class Peers:
    """What both services hold. `away` names those that do not answer."""

    def __init__(self, clock: Clock) -> None:
        self.away: set[str] = set()
        self.tokens: dict[Key, dict[str, set[str]]] = defaultdict(lambda: {"metrics": set(), "dataset_gateway": set()})
        self.revoked: dict[Key, set[str]] = defaultdict(set)
        self.reports: dict[Key, AttemptReport] = {}
        self.artifacts: set[Key] = set()
        self.orders: dict[Key, str] = {}
        """What the pod of an attempt is told with every answer."""
        self._clock = clock
        self._answers: dict[str, Callable[[Any], Any]] = {
            dataset_gateway.MINT.subject: self._mint,
            dataset_gateway.REVOKE.subject: lambda asked: self._revoke("dataset_gateway", asked),
            dataset_gateway.LIST_ARTIFACTS.subject: self._list_artifacts,
            metrics.ADMIT.subject: self._admit,
            metrics.REVOKE.subject: lambda asked: self._revoke("metrics", asked),
            metrics.ORDER.subject: self._order,
            metrics.REPORT.subject: self._report,
            metrics.REPORTS.subject: self._reports,
        }

    def clear(self) -> None:
        """They are there, and know nothing."""
        for held in (self.away, self.tokens, self.revoked, self.reports, self.artifacts, self.orders):
            held.clear()

    def answer(self, rpc: Rpc[Any, Any], request: Any) -> Any:
        """What the service says.

        Raises:
            ServiceUnavailable: it is away.
            NotFound: as the real one would.
        """
        if rpc.service in self.away:
            raise ServiceUnavailable(rpc.service, "it is not running")
        return self._answers[rpc.subject](request)

    def hear(self, machine: CloudMachine, word: str) -> bool:
        """What the pod of a machine says: a phase, `step`, `heartbeat`, or the reason of its end. False: refused."""
        environment = machine.order.environment
        key = environment["JOB_ID"], int(environment["JOB_ATTEMPT"])
        token = token_hash(SecretStr(environment["JOB_TOKEN"]))
        is_known = token in self.tokens[key]["metrics"] and "metrics" not in self.revoked[key]
        if "metrics" in self.away or not is_known:
            return False
        known = self.reports.get(key) or AttemptReport(job_id=key[0], attempt=key[1])
        self.reports[key] = known.model_copy(update=self._said(known, word))
        if word in STORED and "dataset_gateway" not in self.revoked[key]:
            self.artifacts.add(key)
        return True

    def _said(self, known: AttemptReport, word: str) -> dict[str, Any]:
        now = self._clock.now()
        said: dict[str, Any] = {"last_heard_at": now}
        if word in PHASES:
            return said | {"phase": word}
        if word == "step":
            return said | {"phase": "training", "step": known.step + 1, "last_progress_at": now}
        if word == "heartbeat":
            return said
        reason = "success" if word in SUCCESS else "landed" if word in LANDED else word
        code = 0 if word in (*SUCCESS, *LANDED) else 1
        return said | {"exit": known.exit or ExitFacts(at=now, exit_code=code, reason=reason, message=f"said {word}")}

    def _mint(self, asked: dataset_gateway.MintDownload) -> DownloadMinted:
        key = asked.job_id, asked.attempt
        if asked.dataset_version_id == GONE_DATASET:
            raise NotFound("dataset", asked.dataset_version_id)
        if "dataset_gateway" not in self.revoked[key]:
            self.tokens[key]["dataset_gateway"].add(asked.job_token_sha256)
        return DownloadMinted(
            download_url="http://gateway.test/v1/datasets/download?token=abc",
            sha256="a" * 64,
            size_bytes=10,
            filename="rows.jsonl",
            data_format=DataFormat.MESSAGES,
            expires_at=asked.job_token_expires_at,
        )

    def _admit(self, asked: metrics.AdmitAttempt) -> Empty:
        self.tokens[asked.job_id, asked.attempt]["metrics"].add(asked.job_token_sha256)
        return Empty()

    def _revoke(self, service: str, asked: dataset_gateway.RevokeAttempt) -> Empty:
        self.revoked[asked.job_id, asked.attempt].add(service)
        return Empty()

    def _report(self, asked: metrics.ReportRequest) -> AttemptReport:
        nothing = AttemptReport(job_id=asked.job_id, attempt=asked.attempt)
        return self.reports.get((asked.job_id, asked.attempt), nothing)

    def _reports(self, asked: metrics.ReportsRequest) -> AttemptReports:
        told = [self._report(wanted) for wanted in asked.attempts]
        exited = [metrics.ReportRequest(job_id=report.job_id, attempt=report.attempt) for report in told if report.exit]
        return AttemptReports(reports=[report for report in told if not report.exit], exited=exited)

    def _order(self, asked: metrics.OrderAttempt) -> Empty:
        key = asked.job_id, asked.attempt
        if not self.tokens[key]["metrics"]:
            raise NotFound("attempt", f"{asked.job_id}-{asked.attempt}")
        self.orders[key] = asked.control.action
        return Empty()

    def _list_artifacts(self, asked: dataset_gateway.ListArtifacts) -> ArtifactList:
        key = asked.job_id, asked.attempt or 1
        stored = [_artifact(key, self._clock.now())] if key in self.artifacts else []
        return ArtifactList(artifacts=stored)


class LinedRpc:
    """`RpcClient` of one deployer, at the end of its line."""

    def __init__(self, peers: Peers, line: Line) -> None:
        self._peers = peers
        self._line = line

    async def ask(self, rpc: Rpc[RequestT, ResponseT], request: RequestT) -> ResponseT:
        """Ask, and get the answer in the form that it has on the wire.

        Raises:
            ServiceUnavailable: away, or the answer was lost.
            RemoteRefusal: the service refused.
        """
        await self._reach(rpc, "asked")
        try:
            answered = self._peers.answer(rpc, request)
        except NotFound as error:
            raise RemoteRefusal(
                code=error.code, status=error.status, title=error.title, detail=error.detail, next_step=error.next_step
            ) from error
        await self._reach(rpc, "answered")
        return rpc.response.model_validate_json(answered.model_dump_json())

    async def _reach(self, rpc: Rpc[Any, Any], what: str) -> None:
        try:
            await self._line.reach(f"{rpc.subject} {what}")
        except Cut as error:
            raise ServiceUnavailable(rpc.service, what) from error


def _artifact(key: Key, at: datetime) -> ArtifactFacts:
    return ArtifactFacts(
        artifact_id="artifact-00000000000000aa",
        job_id=key[0],
        attempt=key[1],
        name="adapter_model.safetensors",
        sha256="b" * 64,
        size_bytes=1,
        created_at=at,
    )

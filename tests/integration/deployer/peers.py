"""The other services, as far as a deployer speaks to them: the real bus, honest answers, and gates to hold them at."""

import asyncio
from collections import defaultdict
from datetime import UTC, datetime
from typing import Any, Literal
from uuid import uuid4

from stoker.stack.standalone import RunningNats
from stoker_shared.bus import Bus, BusSettings, MessageContext, RpcClient, answer, consume
from stoker_shared.commands import Command
from stoker_shared.errors import NotFound
from stoker_shared.events import AnyJobEvent, JobEvent, LossTroubled, PodEvent, PodExited, PodPhaseChanged
from stoker_shared.identifiers import new_identifier
from stoker_shared.recipe import DataFormat
from stoker_shared.rpc import dataset_gateway, metrics
from stoker_shared.rpc.contract import Empty
from stoker_shared.rpc.dataset_gateway import ArtifactFacts, ArtifactList, DownloadMinted
from stoker_shared.rpc.metrics import AttemptReport, ExitFacts, LossTrouble, Phase

GONE_DATASET = "dataset-00000000000000ff"


class Gates:
    """Places where an answer can be held back: `close`, wait until it is `reached`, `open` again."""

    def __init__(self) -> None:
        self._open: dict[str, asyncio.Event] = {}
        self._reached: dict[str, asyncio.Event] = defaultdict(asyncio.Event)

    def close(self, name: str) -> None:
        """Whoever comes to this place waits."""
        self._open[name] = asyncio.Event()
        self._reached[name].clear()

    def open(self, name: str) -> None:
        """Let all pass."""
        self._open.pop(name).set()

    async def reached(self, name: str) -> None:
        """Wait until somebody stands before the gate."""
        async with asyncio.timeout(60):
            await self._reached[name].wait()

    async def pass_through(self, name: str) -> None:
        """Called by the place."""
        self._reached[name].set()
        if name in self._open:
            await self._open[name].wait()


class Peers:
    """api, dataset gateway and metrics service on one bus."""

    def __init__(self, nats: RunningNats) -> None:
        self.gates = Gates()
        self.events: list[JobEvent] = []
        self.tokens: dict[tuple[str, int], dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
        self.revoked: dict[tuple[str, int], set[str]] = defaultdict(set)
        self.orders: dict[tuple[str, int], list[metrics.Control]] = defaultdict(list)
        self.awaits_next: dict[str, bool] = {}
        self.reports: dict[tuple[str, int], AttemptReport] = {}
        self.artifacts: dict[tuple[str, int], list[str]] = defaultdict(list)
        self._buses = {
            name: Bus(BusSettings(url=nats.url, service=name, seed_file=nats.seed_files[name]))
            for name in ("api", "dataset_gateway", "metrics")
        }
        self._events_changed = asyncio.Event()
        consume(self._buses["api"], "api_job_events", AnyJobEvent, self._take_event)
        gateway = self._buses["dataset_gateway"]
        answer(gateway, dataset_gateway.MINT, self._mint)
        answer(gateway, dataset_gateway.REVOKE, self._revoke_at_gateway)
        answer(gateway, dataset_gateway.LIST_ARTIFACTS, self._list_artifacts)
        self._register_metrics(self._buses["metrics"])

    async def start(self) -> None:
        """Connect all."""
        for bus in self._buses.values():
            await bus.start()

    async def stop(self) -> None:
        """Disconnect all."""
        for bus in self._buses.values():
            await bus.stop()

    async def stop_metrics(self) -> None:
        """The metrics service goes away."""
        await self._buses.pop("metrics").stop()

    async def start_metrics(self, nats: RunningNats) -> None:
        """The metrics service comes back with what it knew."""
        bus = Bus(BusSettings(url=nats.url, service="metrics", seed_file=nats.seed_files["metrics"]))
        self._register_metrics(bus)
        self._buses["metrics"] = bus
        await bus.start()

    async def ask(self, rpc: Any, request: Any) -> Any:
        """Ask the deployer, as the api."""
        return await RpcClient(self._buses["api"]).ask(rpc, request)

    async def send(self, command: Command) -> None:
        """Send a command, as the api."""
        await self._publish("api", command)

    async def say(
        self, job_id: str, phase: Phase, *, attempt: int = 1, nudges: bool = True, landing_seconds: float | None = None
    ) -> None:
        """The pod enters a phase."""
        said = {"phase": phase, "landing_seconds": landing_seconds}
        self.reports[job_id, attempt] = self._report(job_id, attempt, **said)
        if nudges:
            await self._publish("metrics", PodPhaseChanged(**_envelope(job_id, attempt), phase=phase))

    async def trouble(self, job_id: str, kind: Literal["diverging", "non_finite"], *, attempt: int = 1) -> None:
        """The metrics service finds the loss of an attempt in trouble."""
        said = LossTrouble(kind=kind, at=datetime.now(UTC), step=7, detail=f"the loss is {kind}")
        self.reports[job_id, attempt] = self._report(job_id, attempt, loss_trouble=said)
        await self._publish(
            "metrics", LossTroubled(**_envelope(job_id, attempt), kind=kind, step=7, detail=said.detail)
        )

    async def exit(self, job_id: str, reason: str, *, code: int = 0, attempt: int = 1, stored: bool = True) -> None:
        """The pod says how it ended; a success or a landing has stored its model before."""
        if reason in ("success", "landed") and stored:
            self.artifacts[job_id, attempt].append("adapter_model.safetensors")
        said = ExitFacts(at=datetime.now(UTC), exit_code=code, reason=reason, message=f"the pod said {reason}")
        self.reports[job_id, attempt] = self._report(job_id, attempt, exit=said)
        await self._publish("metrics", PodExited(**_envelope(job_id, attempt), exit_code=code, reason=reason))

    async def until_told(self, job_id: str, fact: str, *, times: int = 1, seconds: float = 60) -> JobEvent:
        """Wait for an event of a job."""
        async with asyncio.timeout(seconds):
            while True:
                self._events_changed.clear()
                told = [event for event in self.events_of(job_id) if event.type == fact]
                if len(told) >= times:
                    return told[times - 1]
                await self._events_changed.wait()

    def events_of(self, job_id: str) -> list[JobEvent]:
        """What was told of a job, each event once. Handlers run side by side, so the order is that of the sequence."""
        by_id = {event.event_id: event for event in self.events if event.job_id == job_id}
        return sorted(by_id.values(), key=lambda event: event.sequence)

    def statuses_of(self, job_id: str) -> list[str]:
        """The statuses that a job was told to be in."""
        return [event.status.value for event in self.events_of(job_id)]

    def _report(self, job_id: str, attempt: int, **said: Any) -> AttemptReport:
        known = self.reports.get((job_id, attempt)) or AttemptReport(job_id=job_id, attempt=attempt)
        return known.model_copy(update={"last_heard_at": datetime.now(UTC), **said})

    def _register_metrics(self, bus: Bus) -> None:
        answer(bus, metrics.ADMIT, self._admit)
        answer(bus, metrics.REVOKE, self._revoke_at_metrics)
        answer(bus, metrics.ORDER, self._order)
        answer(bus, metrics.REPORT, self._tell_report)
        answer(bus, metrics.REPORTS, self._tell_reports)

    async def _take_event(self, event: JobEvent, _context: MessageContext) -> None:
        self.events.append(event)
        self._events_changed.set()

    async def _mint(self, asked: dataset_gateway.MintDownload) -> DownloadMinted:
        await self.gates.pass_through("mint")
        if asked.dataset_version_id == GONE_DATASET:
            raise NotFound("dataset", asked.dataset_version_id)
        self.tokens[asked.job_id, asked.attempt]["gateway"].add(asked.job_token_sha256)
        return DownloadMinted(
            download_url="http://gateway.test/v1/datasets/download?token=abc",
            sha256="a" * 64,
            size_bytes=10,
            filename="rows.jsonl",
            data_format=DataFormat.MESSAGES,
            expires_at=asked.job_token_expires_at,
        )

    async def _admit(self, asked: metrics.AdmitAttempt) -> Empty:
        await self.gates.pass_through("admit")
        self.tokens[asked.job_id, asked.attempt]["metrics"].add(asked.job_token_sha256)
        return Empty()

    async def _revoke_at_gateway(self, asked: dataset_gateway.RevokeAttempt) -> Empty:
        await self.gates.pass_through("revoke")
        self.revoked[asked.job_id, asked.attempt].add("gateway")
        self.awaits_next[asked.job_id] = asked.another_follows
        return Empty()

    async def _revoke_at_metrics(self, asked: dataset_gateway.RevokeAttempt) -> Empty:
        self.revoked[asked.job_id, asked.attempt].add("metrics")
        return Empty()

    async def _order(self, asked: metrics.OrderAttempt) -> Empty:
        await self.gates.pass_through("order")
        self.orders[asked.job_id, asked.attempt].append(asked.control)
        return Empty()

    async def _tell_report(self, asked: metrics.ReportRequest) -> AttemptReport:
        await self.gates.pass_through("report")
        nothing = AttemptReport(job_id=asked.job_id, attempt=asked.attempt)
        return self.reports.get((asked.job_id, asked.attempt), nothing)

    async def _tell_reports(self, asked: metrics.ReportsRequest) -> metrics.AttemptReports:
        told = [await self._tell_report(wanted) for wanted in asked.attempts]
        return metrics.AttemptReports(
            reports=[report for report in told if report.exit is None],
            exited=[wanted for wanted, report in zip(asked.attempts, told, strict=True) if report.exit],
        )

    async def _list_artifacts(self, asked: dataset_gateway.ListArtifacts) -> ArtifactList:
        await self.gates.pass_through("artifacts")
        attempt = asked.attempt or 1
        return ArtifactList(
            artifacts=[
                ArtifactFacts(
                    artifact_id=new_identifier("artifact"),
                    job_id=asked.job_id,
                    attempt=attempt,
                    name=name,
                    sha256="b" * 64,
                    size_bytes=1,
                    created_at=datetime.now(UTC),
                )
                for name in self.artifacts[asked.job_id, attempt]
            ]
        )

    async def _publish(self, service: str, message: Command | PodEvent) -> None:
        payload = message.model_dump_json().encode()
        await self._buses[service].publisher.publish(message.subject, payload, message_id=str(message.event_id))


def _envelope(job_id: str, attempt: int) -> dict[str, Any]:
    return {
        "event_id": uuid4(),
        "occurred_at": datetime.now(UTC),
        "sequence": 1,
        "job_id": job_id,
        "attempt": attempt,
    }

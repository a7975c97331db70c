"""A real HTTP server that keeps the contracts of api and gateway, and misbehaves where a test tells it to."""

import hashlib
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from tests.integration.cli.contract_content import CUT, JOB, NOW, Event, dataset_facts
from tests.support.waiting import wait_until

KEY = "stk_contract_server_key"
UPLOAD_TOKEN = "upload-token"


@dataclass
class Seen:
    """One request that arrived."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes = b""


@dataclass
class ContractServer:
    """What the server holds, how it shall misbehave, and what it has seen."""

    url: str = ""
    seen: list[Seen] = field(default_factory=list)
    datasets: dict[str, dict[str, Any]] = field(default_factory=dict)
    rejected_with: list[dict[str, Any]] = field(default_factory=list)
    received: dict[str, bytearray] = field(default_factory=dict)
    """What has come of each upload."""
    break_uploads_after: list[int] = field(default_factory=list)
    """For each PATCH in turn: bytes that are kept before the connection breaks."""
    looks_before_verdict: int = 1
    """Questions about an upload that are answered with "checking"."""
    failures: dict[str, list[Response | Callable[[], Response]]] = field(default_factory=dict)
    """By "METHOD /path": answers to give first, or what makes them."""
    streams: list[list[Event]] = field(default_factory=list)
    """One script of events for each connection to the event stream."""
    points: list[dict[str, Any]] = field(default_factory=list)
    lines: list[dict[str, Any]] = field(default_factory=list)
    alerts: list[dict[str, Any]] = field(default_factory=list)
    capped: list[str] = field(default_factory=list)
    attempt: int = 1
    artifact: bytes = b""
    artifact_name: str = "adapter_model.safetensors"
    artifact_sha256: str | None = None
    deleted: list[str] = field(default_factory=list)
    limits: list[dict[str, Any]] = field(default_factory=list)
    secrets: dict[str, dict[str, Any]] = field(default_factory=dict)
    break_after: list[int] = field(default_factory=list)
    """For each download in turn: bytes after which the connection breaks."""

    def requests(self, method: str, path: str) -> list[Seen]:
        """What arrived there."""
        return [seen for seen in self.seen if (seen.method, seen.path) == (method, path)]

    def application(self) -> Starlette:
        """The routes."""
        return Starlette(
            routes=[
                Route("/v1/me", self._me),
                Route("/v1/datasets", self._datasets, methods=["POST", "GET"]),
                Route("/v1/datasets/{id}", self._dataset),
                Route("/v1/uploads/{id}", self._upload, methods=["HEAD", "PATCH", "GET"]),
                Route("/v1/budgets", self._budgets),
                Route("/v1/budgets/{kind}", self._set_budget, methods=["PUT"]),
                Route("/v1/secrets", self._list_secrets),
                Route("/v1/secrets/{name}", self._secret, methods=["PUT", "DELETE"]),
                Route("/v1/jobs", self._launch, methods=["POST"]),
                Route("/v1/jobs/{id}/events", self._events),
                Route("/v1/jobs/{id}/metrics", self._metrics),
                Route("/v1/jobs/{id}/logs", self._logs),
                Route("/v1/jobs/{id}/alerts", self._alerts),
                Route("/v1/jobs/{id}/logs/search", self._search),
                Route("/v1/jobs/{id}/logs/download", self._log_text),
                Route("/v1/charts/latest", self._latest),
                Route("/v1/jobs/{id}/artifacts", self._artifacts),
                Route("/v1/jobs/{id}", self._job),
                Route("/v1/artifacts/{id}", self._delete, methods=["DELETE"]),
                Route("/v1/artifacts/{id}/download", self._open, methods=["POST"]),
                Route("/v1/artifacts/download", self._download),
            ]
        )

    async def _me(self, request: Request) -> Response:
        return await self._begin(request) or JSONResponse({"user_id": "user-1", "name": "demo"})

    async def _budgets(self, request: Request) -> Response:
        own = {"kind": "user", "name": "", "limit_micro_usd": None, "committed_micro_usd": 3, "held_micro_usd": 1}
        return await self._begin(request) or JSONResponse({"budgets": [own, *self.limits]})

    async def _set_budget(self, request: Request) -> Response:
        if (early := await self._begin(request)) is not None:
            return early
        wanted = json.loads(self.seen[-1].body)
        limit = None if wanted["limit_usd"] is None else int(float(wanted["limit_usd"]) * 1_000_000)
        kind, name = request.path_params["kind"], wanted.get("project", "")
        self.limits.append({"kind": kind, "name": name, "limit_micro_usd": limit, "committed_micro_usd": 500_000})
        return JSONResponse(self.limits[-1])

    async def _list_secrets(self, request: Request) -> Response:
        return await self._begin(request) or JSONResponse(self._secrets())

    async def _secret(self, request: Request) -> Response:
        if (early := await self._begin(request)) is not None:
            return early
        name = request.path_params["name"]
        if request.method == "DELETE":
            self.secrets.pop(name)
            return JSONResponse(self._secrets())
        value = json.loads(self.seen[-1].body)["value"]
        state = "unchecked" if name == "wandb" else "valid"
        facts = {"name": name, "version": 1, "state": state, "hint": value[-4:], "set_at": "2026-11-22T12:00:00Z"}
        self.secrets[name] = facts
        return JSONResponse(facts)

    def _secrets(self) -> dict[str, Any]:
        return {"secrets": list(self.secrets.values()), "settable": ["huggingface", "runpod", "wandb"]}

    async def _datasets(self, request: Request) -> Response:
        early = await self._begin(request)
        if early is not None:
            return early
        if request.method == "GET":
            return JSONResponse({"datasets": list(self.datasets.values())})
        wanted = json.loads(self.seen[-1].body)
        version_id = f"dataset-{wanted['sha256'][:16]}"
        wanted.pop("convert")
        known = self.datasets.setdefault(version_id, dataset_facts(version_id, wanted))
        if known["state"] == "stored":
            return JSONResponse({"dataset_version_id": version_id, "already_stored": True}, status_code=201)
        ticket = {
            "dataset_version_id": version_id,
            "already_stored": False,
            "upload_url": f"{self.url}/v1/uploads/{version_id}",
            "upload_token": UPLOAD_TOKEN,
            "expires_at": NOW,
        }
        return JSONResponse(ticket, status_code=201)

    async def _dataset(self, request: Request) -> Response:
        early = await self._begin(request)
        found = self.datasets.get(request.path_params["id"])
        return early or (JSONResponse(found) if found else problem(404, "not_found", "There is no such dataset."))

    async def _upload(self, request: Request) -> Response:
        early = await self._begin(request, token=UPLOAD_TOKEN)
        if early is not None:
            return early
        version_id, seen = request.path_params["id"], self.seen[-1]
        if seen.headers.get("tus-resumable") != "1.0.0":
            return problem(412, "tus_version_unsupported", "Another version of tus.")
        received = self.received.setdefault(version_id, bytearray())
        if request.method == "GET":
            return JSONResponse(self._verdict(version_id, bytes(received)))
        if request.method == "PATCH":
            offset = int(seen.headers["upload-offset"])
            if offset != len(received):
                return problem(409, "upload_offset_conflict", f"The upload goes on at byte {len(received)}.")
            kept = self.break_uploads_after.pop(0) if self.break_uploads_after else len(seen.body)
            received += seen.body[:kept]
            if kept < len(seen.body):
                return Cut()
        position = {"upload-offset": str(len(received)), "upload-length": str(self.datasets[version_id]["size_bytes"])}
        return Response(status_code=200 if request.method == "HEAD" else 204, headers=position)

    def _verdict(self, version_id: str, received: bytes) -> dict[str, Any]:
        facts = self.datasets[version_id]
        size = facts["size_bytes"]
        status: dict[str, Any] = {"state": "checking", "offset_bytes": len(received), "size_bytes": size}
        if self.looks_before_verdict:
            self.looks_before_verdict -= 1
            return {**status, "checked_bytes": size // 2}
        if hashlib.sha256(received).hexdigest() != facts["sha256"]:
            self.received[version_id].clear()
            words = {
                "status": 422,
                "trace_id": "ab" * 16,
                "title": "differs",
                "detail": "The bytes are not those that were announced.",
            }
            return {**status, "state": "failed", "problem": {"code": "checksum_mismatch", **words}}
        status |= {"checked_bytes": size, "facts": facts}
        if self.rejected_with:
            facts |= {"state": "rejected", "faults": self.rejected_with, "faults_total": len(self.rejected_with)}
            words = {"status": 422, "trace_id": "ab" * 16, "title": "faults", "detail": "The file has faults."}
            return {**status, "state": "rejected", "problem": {"code": "dataset_rejected", **words}}
        facts["state"] = "stored"
        return {**status, "state": "stored"}

    async def _launch(self, request: Request) -> Response:
        return await self._begin(request) or JSONResponse({"job_id": JOB, "status": "queued"}, status_code=201)

    async def _job(self, request: Request) -> Response:
        return await self._begin(request) or JSONResponse({"job_id": JOB, "status": "completed"})

    async def _events(self, request: Request) -> Response:
        early = await self._begin(request)
        if early is not None:
            return early
        script = self.streams.pop(0) if self.streams else []
        return StreamingResponse(_sse(script), media_type="text/event-stream")

    async def _metrics(self, request: Request) -> Response:
        early = await self._begin(request)
        return early or JSONResponse({"attempt": self.attempt, "points": _after(self.points, request)})

    async def _logs(self, request: Request) -> Response:
        early = await self._begin(request)
        return early or JSONResponse({"attempt": self.attempt, "lines": _after(self.lines, request)})

    async def _alerts(self, request: Request) -> Response:
        """A page for each question: one alert, then the end."""
        place = int(request.query_params.get("after_attempt", 0)), int(request.query_params.get("after", 0))
        later = [found for found in self.alerts if (found["attempt"], found["sequence"]) > place]
        return await self._begin(request) or JSONResponse({"alerts": later[:1], "capped": self.capped})

    async def _search(self, request: Request) -> Response:
        """A page for each question: one line, then the end."""
        found = [line for line in _after(self.lines, request) if request.query_params["q"] in line["text"]][:1]
        matches = [{"line": line, "spans": [[0, 1]]} for line in found]
        to = found[0]["sequence"] if found else 0
        page = {"attempt": 1, "matches": matches, "searched_to": to, "is_end": not found}
        return await self._begin(request) or JSONResponse(page)

    async def _log_text(self, request: Request) -> Response:
        early = await self._begin(request)
        return early or Response("".join(f"{line['text']}\n" for line in self.lines), media_type="text/plain")

    async def _latest(self, request: Request) -> Response:
        runs = [
            {"job_id": job_id, "attempt": 1, "step": 7, "total_steps": 9, "values": {"loss": 0.25, "kl": None}}
            for job_id in request.query_params.getlist("job_id")
        ]
        return await self._begin(request) or JSONResponse({"runs": runs})

    async def _artifacts(self, request: Request) -> Response:
        return await self._begin(request) or JSONResponse({"artifacts": [self._artifact_facts()]})

    async def _open(self, request: Request) -> Response:
        early = await self._begin(request)
        opened = {
            "artifact": self._artifact_facts(),
            "download_url": f"{self.url}/v1/artifacts/download?token=t0ken",
            "expires_at": NOW,
        }
        return early or JSONResponse(opened)

    async def _delete(self, request: Request) -> Response:
        early = await self._begin(request)
        if early is None:
            self.deleted.append(request.path_params["id"])
        return early or JSONResponse({})

    async def _download(self, request: Request) -> Response:
        early = await self._begin(request, token=None)
        if early is not None:
            return early
        etag = f'"{hashlib.sha256(self.artifact).hexdigest()}"'
        is_same = request.headers.get("if-range") == etag
        start = int(request.headers.get("range", "bytes=0-").removeprefix("bytes=").rstrip("-")) if is_same else 0
        whole = self.artifact[start:]
        stop = self.break_after.pop(0) if self.break_after else len(whole)
        headers = {"content-length": str(len(whole))}
        return StreamingResponse(_broken(whole, stop), status_code=206 if start else 200, headers=headers)

    def _artifact_facts(self) -> dict[str, Any]:
        return {
            "artifact_id": "artifact-00000000000000aa",
            "job_id": JOB,
            "attempt": 1,
            "name": self.artifact_name,
            "sha256": self.artifact_sha256 or hashlib.sha256(self.artifact).hexdigest(),
            "size_bytes": len(self.artifact),
            "created_at": NOW,
        }

    async def _begin(self, request: Request, *, token: str | None = KEY) -> Response | None:
        path = request.url.path
        self.seen.append(Seen(request.method, path, dict(request.headers), await request.body()))
        waiting = self.failures.get(f"{request.method} {path}")
        if waiting:
            first = waiting.pop(0)
            return first if isinstance(first, Response) else first()
        if token is not None and request.headers.get("authorization") != f"Bearer {token}":
            return problem(401, "unauthorised", "This key is not known.")
        return None


class Cut(Response):
    """No answer: the connection breaks."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Break it."""
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"-", "more_body": True})
        raise ConnectionAbortedError("cut by the test")


@contextmanager
def running(server: ContractServer, *, port: int = 0) -> Iterator[ContractServer]:
    """Serve on a port of the loopback address until the end of the block."""
    config = uvicorn.Config(server.application(), host="127.0.0.1", port=port, log_level="critical", lifespan="off")
    process = uvicorn.Server(config)
    thread = threading.Thread(target=process.run, daemon=True)
    thread.start()
    wait_until(lambda: process.started)
    server.url = f"http://127.0.0.1:{process.servers[0].sockets[0].getsockname()[1]}"
    try:
        yield server
    finally:
        process.should_exit = True
        process.force_exit = True
        thread.join(10)


def problem(status: int, code: str, detail: str, *, headers: dict[str, str] | None = None) -> Response:
    """Problem details as the services answer them."""
    content = {
        "title": code,
        "status": status,
        "detail": detail,
        "code": code,
        "next_step": "",
        "errors": [],
        "trace_id": "ab" * 16,
    }
    return JSONResponse(content, status_code=status, headers=headers, media_type="application/problem+json")


def _after(entries: list[dict[str, Any]], request: Request) -> list[dict[str, Any]]:
    after, limit = int(request.query_params["after"]), int(request.query_params["limit"])
    return [entry for entry in entries if entry["sequence"] > after][:limit]


async def _sse(script: list[Event]) -> AsyncIterator[bytes]:
    for name, content in script:
        if (name, content) == CUT:
            raise ConnectionAbortedError("cut by the test")
        identifier = f"id: {content['sequence']}\n" if name == "job" else ""
        yield f": ping\n\nevent: {name}\n{identifier}data: {json.dumps(content)}\n\n".encode()


async def _broken(content: bytes, stop: int) -> AsyncIterator[bytes]:
    for start in range(0, min(stop, len(content)), 1000):
        yield content[start : min(start + 1000, stop)]
    if stop < len(content):
        raise ConnectionAbortedError("cut by the test")

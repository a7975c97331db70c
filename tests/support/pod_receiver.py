"""A small real HTTP server that takes what a pod sends: reports, artifacts; and serves it a dataset."""

import gzip
import hashlib
import json
import re
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from stoker_metrics.reports.reading import parse_report
from stoker_metrics.reports.telemetry import ALERT, EXIT, HEARTBEAT, LOGS, METRICS
from stoker_shared.errors import RequestInvalid
from tests.support.ports import free_port

TOKEN = "job-token-that-nobody-may-see-0123456789"
DOWNLOAD_TOKEN = "download-token-that-nobody-may-see-42"
KINDS = {"metrics": METRICS, "logs": LOGS, "alerts": ALERT, "heartbeat": HEARTBEAT, "exit": EXIT}
"""By the last part of their address."""
Rule = Callable[[str, Any], Response | None]


class PodReceiver:
    """Keeps every body it answered 2xx, by kind. `rule` may answer first, `control` goes into each answer.

    `announced`: checksums of artifacts as they were stored, where the bytes are others now.
    """

    def __init__(self) -> None:
        self.port = free_port()
        self._socket = _bound_socket(self.port)
        self.taken: dict[str, list[dict[str, Any]]] = {}
        self.artifacts: dict[str, bytes] = {}
        self.announced: dict[str, str] = {}
        self.requests: list[str] = []
        self.encodings: list[tuple[int, str | None]] = []
        self.reads_gzip = True
        self.dataset = b""
        self.control: dict[str, Any] = {"action": "continue", "reason": None, "deadline": None}
        self.rule: Rule = lambda _kind, _body: None
        self.downloads_open = threading.Event()
        self.downloads_open.set()
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        routes = [
            Route("/v1/jobs/{job}/artifacts/{name:path}", self._artifact, methods=["PUT"]),
            Route("/v1/jobs/{job}/checkpoints/latest", self._latest_checkpoint, methods=["GET"]),
            Route("/v1/jobs/{job}/checkpoints/{attempt}/{step}/{name}", self._checkpoint_file, methods=["GET"]),
            Route("/v1/jobs/{job}/{kind}", self._report, methods=["POST"]),
            Route("/dataset", self._download, methods=["GET"]),
        ]
        config = uvicorn.Config(
            Starlette(routes=routes), host="127.0.0.1", port=self.port, log_level="error", timeout_graceful_shutdown=1
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],), daemon=True)
        self._thread.start()
        wait_until(lambda: self._server is not None and self._server.started)

    def stop(self) -> None:
        assert self._server
        assert self._thread
        self._server.should_exit = True
        self._thread.join()
        # Bound but not listening: connections are refused, and nobody else takes the port.
        self._socket.close()
        self._socket = _bound_socket(self.port)

    def records(self, kind: str, list_name: str | None = None) -> list[dict[str, Any]]:
        """What was taken of a kind: the bodies, or the records in them."""
        bodies = self.taken.get(kind, [])
        return [record for body in bodies for record in body[list_name]] if list_name else bodies

    def pod_environment(self, workspace: Path, *, config: str, model: str) -> dict[str, str]:
        """Everything that a pod of job `job-1` needs to know."""
        jobs = f"{self.url}/v1/jobs/job-1"
        return {
            "JOB_ID": "job-1",
            "JOB_TOKEN": TOKEN,
            "JOB_ATTEMPT": "1",
            "USER_ID": "user-1",
            "MODEL_NAME": model,
            "DATASET_URL": f"{self.url}/dataset?token={DOWNLOAD_TOKEN}",
            "DATASET_SHA256": hashlib.sha256(self.dataset).hexdigest(),
            "DATASET_FILENAME": "data.jsonl",
            "METRICS_API_URL": f"{jobs}/metrics",
            "ALERT_API_URL": f"{jobs}/alerts",
            "ARTIFACTS_API_URL": f"{jobs}/artifacts",
            "TRAINING_CONFIG": config,
            "WORKSPACE": str(workspace),
            "OMP_NUM_THREADS": "1",
            "STOKER_HEARTBEAT_SECONDS": "0.5",
            "STOKER_REPORT_SECONDS": "0.1",
            "STOKER_RETRY_SECONDS": "30",
            "STOKER_FAILURE_FLUSH_SECONDS": "5",
        }

    async def _report(self, request: Request) -> Response:
        kind = request.path_params["kind"]
        self.requests.append(kind)
        content = await request.body()
        encoding = request.headers.get("Content-Encoding")
        if encoding == "gzip" and not self.reads_gzip:
            return Response(status_code=415)
        self.encodings.append((len(content), encoding))
        plain = gzip.decompress(content) if encoding == "gzip" else content
        body = json.loads(plain) if plain else None
        if request.headers.get("Authorization") != f"Bearer {TOKEN}":
            return Response(status_code=401)
        answer = self.rule(kind, body) or _refusal(kind, plain)
        if answer is not None:
            return answer
        self.taken.setdefault(kind, []).append(body)
        return JSONResponse({"accepted": 1, "control": self.control})

    async def _artifact(self, request: Request) -> Response:
        name = request.path_params["name"]
        content = await request.body()
        assert int(request.headers["Content-Length"]) == len(content)
        answer = self.rule(f"artifact {name}", None)
        if answer is not None:
            return answer
        sha256 = hashlib.sha256(content).hexdigest()
        if request.headers.get("Authorization") != f"Bearer {TOKEN}" or request.headers["X-Content-SHA256"] != sha256:
            return Response(status_code=400)
        self.artifacts[name] = content
        return JSONResponse({"sha256": sha256}, status_code=201)

    async def _latest_checkpoint(self, request: Request) -> Response:
        answer = self.rule("latest checkpoint", request.query_params)
        if answer is not None:
            return answer
        if request.headers.get("Authorization") != f"Bearer {TOKEN}":
            return Response(status_code=401)
        steps = [int(name.split("/")[1]) for name in self.artifacts if name.endswith("/complete.json")]
        whole = sorted(steps, reverse=True)[int(request.query_params["skip"]) :]
        if not whole:
            return Response(status_code=404)
        folder = f"checkpoints/{whole[0]}/"
        files = [
            {
                "name": name.removeprefix(folder),
                "sha256": self.announced.get(name) or hashlib.sha256(content).hexdigest(),
                "size_bytes": len(content),
            }
            for name, content in self.artifacts.items()
            if name.startswith(folder)
        ]
        return JSONResponse({"job_id": "job-1", "attempt": 1, "step": whole[0], "files": files})

    async def _checkpoint_file(self, request: Request) -> Response:
        name = f"checkpoints/{request.path_params['step']}/{request.path_params['name']}"
        answer = self.rule(f"checkpoint {name}", request.headers)
        if answer is not None:
            return answer
        content = self.artifacts[name]
        start = re.fullmatch(r"bytes=(\d+)-", request.headers.get("Range", ""))
        if start:
            return Response(content[int(start[1]) :], status_code=206)
        return Response(content)

    async def _download(self, request: Request) -> Response:
        await run_in_threadpool(self.downloads_open.wait)
        if request.query_params.get("token") != DOWNLOAD_TOKEN:
            return Response(status_code=401)
        answer = self.rule("dataset", request.headers)
        if answer is not None:
            return answer
        etag = f'"{hashlib.sha256(self.dataset).hexdigest()}"'
        start = re.fullmatch(r"bytes=(\d+)-", request.headers.get("Range", ""))
        if start and request.headers.get("If-Range") == etag:
            return Response(self.dataset[int(start[1]) :], status_code=206, headers={"ETag": etag})
        return Response(self.dataset, headers={"ETag": etag})


def _refusal(kind: str, body: bytes) -> Response | None:
    """What the metrics service would say to a report of this form: a pod must send nothing that it refuses."""
    try:
        parse_report(KINDS[kind].report, body)
    except RequestInvalid as error:
        return JSONResponse({"detail": error.detail, "errors": error.fields}, status_code=422)
    return None


def _bound_socket(port: int) -> socket.socket:
    bound = socket.socket()
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.bind(("127.0.0.1", port))
    return bound


def wait_until(is_true: Callable[[], object], *, seconds: float = 200.0) -> None:
    """Look until something real has happened."""
    end = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)

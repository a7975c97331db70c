"""What a pod script meets: a gateway with the trainer, a provider's API, and a container that runs the script."""

import hashlib
import os
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from stoker_deployer.pods.script import PodScript, container_command, render, trainer_lock
from stoker_trainer.bundle import build_bundle
from tests.support.pod_receiver import TOKEN, PodReceiver, _bound_socket, wait_until
from tests.support.pod_scripts import runpod_script
from tests.support.ports import free_port

POD_KEY = "pod-scoped-key-that-nobody-may-see-77"
POD_ID = "7h9k2m4n6p"


class PodWorld:
    """Serves the trainer bundle and the part of RunPod's REST v2 that a pod may use on itself.

    `answers` holds what each call (`DELETE`, `terminate`, `stop`) is answered with; a granted one kills the container.
    """

    def __init__(self) -> None:
        self.port = free_port()
        self._socket = _bound_socket(self.port)
        self.bundle = build_bundle()
        self.wheel = self.bundle.content
        self.answers: dict[str, int] = {}
        self.kills = True
        self.calls: list[tuple[str, int]] = []
        self.agents: set[str | None] = set()
        self.trainer_answers: list[int] = []
        self.container: Container | None = None
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        routes = [
            Route("/v1/trainer/{version}/{sha256}", self._trainer, methods=["GET"]),
            Route("/v2/pods/{pod_id}", self._pod, methods=["DELETE"]),
            Route("/v2/pods/{pod_id}/action", self._pod, methods=["POST"]),
        ]
        config = uvicorn.Config(Starlette(routes=routes), log_level="error", timeout_graceful_shutdown=1)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],), daemon=True)
        self._thread.start()
        wait_until(lambda: self._server is not None and self._server.started)

    def stop(self) -> None:
        assert self._server
        assert self._thread
        self._server.should_exit = True
        self._thread.join()
        self._socket.close()

    def script(self, **changes: Any) -> PodScript:
        """A script for the trainer that is served here. The release calls come here, too."""
        values = {
            "deadline": None,
            "keep_alive": None,
            "disk_needed_bytes": 1_000_000,
        }
        script = replace(runpod_script(trainer_lock()), **values | changes)
        return replace(script, release=replace(script.release, url=f"{self.url}/v2"))

    @property
    def trainer(self) -> dict[str, str]:
        """Where a pod finds the trainer, as the deployer tells it."""
        sha256 = hashlib.sha256(self.wheel).hexdigest()
        url = f"{self.url}/v1/trainer/{self.bundle.version}/{sha256}"
        return {"TRAINER_BUNDLE_URL": url, "TRAINER_BUNDLE_SHA256": sha256}

    async def _trainer(self, request: Request) -> Response:
        if request.headers.get("Authorization") != f"Bearer {TOKEN}":
            return Response(status_code=401)
        if self.trainer_answers:
            return Response(status_code=self.trainer_answers.pop(0), headers={"Retry-After": "0"})
        return Response(self.wheel)

    async def _pod(self, request: Request) -> Response:
        if request.headers.get("Authorization") != f"Bearer {POD_KEY}" or request.path_params["pod_id"] != POD_ID:
            return Response(status_code=401)
        action = "DELETE" if request.method == "DELETE" else (await request.json())["action"]
        status = self.answers.get(action, 204)
        self.calls.append((action, status))
        self.agents.add(request.headers.get("User-Agent"))
        if status == 204 and self.kills and self.container:
            self.container.kill()
        return Response(status_code=status, headers={"Retry-After": "0"})


class Container:
    """Runs a script as a provider would: its command with its variables, in a folder and a process group of its own."""

    def __init__(self, script: PodScript, receiver: PodReceiver, root: Path, **variables: str) -> None:
        self.root = root
        self.arguments = shlex.split(container_command(render(script)))
        image = root.parent / f"{root.name}-image"
        lock = hashlib.sha256(script.lock.encode()).hexdigest()
        image.write_text(f"{lock}\n{sys.executable}\n")
        environment = receiver.pod_environment(root, config=variables.pop("config", "{}"), model="m")
        del environment["WORKSPACE"]
        self.environment = {
            **{name: os.environ[name] for name in ("PATH", "HOME")},
            **environment,
            "STOKER_POD_ROOT": str(root),
            "STOKER_POD_IMAGE": str(image),
            "RUNPOD_POD_ID": POD_ID,
            "RUNPOD_API_KEY": POD_KEY,
            "GUARD_TICK_SECONDS": "0.2",
            "GUARD_SETTLE_SECONDS": "1",
            "GUARD_LADDER_SECONDS": "2",
            **variables,
        }
        self.process: subprocess.Popen[bytes] | None = None
        self._output = root.parent / f"{root.name}-output"

    @property
    def state(self) -> Path:
        """Where the attempt's files are."""
        return self.root / ".stoker" / "attempt-1"

    @property
    def output(self) -> str:
        """All that the container has printed."""
        return self._output.read_text()

    def start(self) -> None:
        with self._output.open("ab") as output:
            self.process = subprocess.Popen(
                self.arguments,
                env=self.environment,
                stdout=output,
                stderr=output,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )

    def wait(self, *, seconds: float = 240) -> int:
        """The exit code; negative: killed."""
        assert self.process
        return self.process.wait(timeout=seconds)

    def run(self) -> int:
        self.start()
        return self.wait()

    def signal(self, number: signal.Signals) -> None:
        """To process 1 of the container alone."""
        assert self.process
        self.process.send_signal(number)

    def kill(self) -> None:
        """As a provider ends a machine."""
        if self.process is None:
            return
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            return


Make = Callable[..., Container]

"""The training server as a process that is killed, with real pods that go on."""

import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.support.pod_receiver import TOKEN, PodReceiver, wait_until
from tests.support.ports import free_port
from tests.support.tiny_run import config_json

API_KEY = "training-server-key-for-tests"


class TrainingServer:
    """`python -m stoker_trainer.server` on one data folder; can be killed and started again."""

    def __init__(self, data_dir: Path, **settings: str) -> None:
        self.data_dir = data_dir
        self.settings = settings
        self.process: subprocess.Popen[bytes] | None = None
        self.client = httpx.Client()

    def start(self, *, before: Callable[[], None] | None = None) -> None:
        port = free_port()
        headers = {"Authorization": f"Bearer {API_KEY}"}
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=10)
        settings = {
            "API_KEY": API_KEY,
            "DATA_DIR": str(self.data_dir),
            "PORT": str(port),
            "TERMINATE_GRACE": "3",
            "MINIMUM_FREE_BYTES": "0",
        } | self.settings
        env = {name: os.environ[name] for name in ("PATH", "HOME")}
        env |= {f"STOKER_TRAINING_SERVER_{name}": value for name, value in settings.items()}
        command = [sys.executable, "-m", "stoker_trainer.server"]
        self.process = subprocess.Popen(command, env=env, preexec_fn=before)  # noqa: PLW1509
        wait_until(self.is_up)

    def is_up(self) -> bool:
        assert self.process
        assert self.process.poll() is None
        try:
            return self.client.get("/readyz").is_success
        except httpx.TransportError:
            return False

    def kill(self) -> None:
        assert self.process
        self.process.kill()
        self.process.wait()

    def create(self, name: str, env: dict[str, str], gpu_count: int = 0) -> httpx.Response:
        return self.client.post("/v1/machines", json={"name": name, "env": env, "gpu_count": gpu_count})

    def machine(self, name: str) -> dict[str, Any]:
        answer = self.client.get(f"/v1/machines/{name}")
        answer.raise_for_status()
        found: dict[str, Any] = answer.json()
        return found

    def state(self, name: str) -> str:
        return str(self.machine(name)["state"])

    def processes(self) -> list[psutil.Process]:
        """Runners and pods of this server that are alive."""
        return [one for one in psutil.process_iter() if self._is_ours(one)]

    def _is_ours(self, process: psutil.Process) -> bool:
        try:
            if process.status() == psutil.STATUS_ZOMBIE:
                return False
            line = process.cmdline()
            workspace = process.environ().get("WORKSPACE", "")
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            return False
        here = str(self.data_dir)
        is_runner = "stoker_trainer.server.runner" in line and any(here in part for part in line)
        return is_runner or ("stoker_trainer.pod" in line and workspace.startswith(here))


@pytest.fixture
def make_server(tmp_path: Path) -> Iterator[Callable[..., TrainingServer]]:
    made: list[TrainingServer] = []

    def make(**settings: str) -> TrainingServer:
        made.append(TrainingServer(tmp_path / "data", **settings))
        return made[-1]

    yield make
    for server in made:
        if server.process and server.process.poll() is None:
            server.kill()
        for process in server.processes():
            process.kill()


@pytest.fixture
def server(make_server: Callable[..., TrainingServer]) -> TrainingServer:
    one = make_server()
    one.start()
    return one


@pytest.fixture(scope="module")
def idle_server(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Iterator[TrainingServer]:
    """For tests that start no machine."""
    one = TrainingServer(tmp_path_factory.mktemp("idle"), MODEL_ROOTS=f"/nowhere:{tiny_model.parent}")
    one.start()
    yield one
    one.kill()


@pytest.fixture
def waiting_pod(receiver: PodReceiver) -> dict[str, str]:
    """The environment of a pod that waits for its dataset until the test lets it have it."""
    receiver.downloads_open.clear()
    return receiver.pod_environment(Path("/set-by-the-server"), config=config_json("/no/model"), model="/no/model")


def test_a_job_survives_the_death_of_its_server(
    server: TrainingServer, receiver: PodReceiver, tiny_model: Path
) -> None:
    config = config_json(tiny_model, length={"max_steps": 24}, sample_prompts=[])
    env = receiver.pod_environment(Path("/set-by-the-server"), config=config, model=str(tiny_model))
    assert server.create("job-1-1", env).status_code == 201
    wait_until(lambda: receiver.records("metrics", "points"))
    running = {process.pid for process in server.processes()}
    assert len(running) == 2

    server.kill()
    server.start()
    assert server.create("job-1-1", env).status_code == 200
    assert {process.pid for process in server.processes()} <= running
    server.kill()
    wait_until(lambda: receiver.records("exit"))
    wait_until(lambda: not server.processes())
    server.start()

    wait_until(lambda: server.state("job-1-1") == "exited")
    assert server.machine("job-1-1")["exit_code"] == 0
    assert len(receiver.records("exit")) == 1
    steps = [point["step"] for point in receiver.records("metrics", "points") if "loss" in point["values"]]
    assert steps == list(range(1, 25))
    assert "receipt.json" in receiver.artifacts
    first = server.client.get("/v1/machines/job-1-1/logs", params={"limit": 100}).json()
    rest = server.client.get("/v1/machines/job-1-1/logs", params={"offset": first["next_offset"]}).json()
    assert (first["text"] + rest["text"]).startswith("dataset data.jsonl")
    assert "exit 0 (success)" in rest["text"]
    files = [path for path in server.data_dir.rglob("*") if path.is_file() and "workspace" not in path.parts]
    assert not any(TOKEN in path.read_text("latin-1") for path in files)


def test_the_same_request_twice_is_one_machine(server: TrainingServer, waiting_pod: dict[str, str]) -> None:
    first, second = server.create("a", waiting_pod), server.create("a", waiting_pod)
    assert (first.status_code, second.status_code) == (201, 200)
    wait_until(lambda: server.state("a") == "running")
    wait_until(lambda: len(server.processes()) == 2)
    other = server.create("a", waiting_pod | {"USER_ID": "another"})
    assert (other.status_code, other.json()["code"]) == (409, "name_taken")
    assert other.headers["Content-Type"] == "application/problem+json"
    assert len(server.processes()) == 2
    secret_file = server.data_dir / "machines" / "a" / "env.json"
    assert (secret_file.stat().st_mode & 0o777, server.data_dir.stat().st_mode & 0o777) == (0o600, 0o700)


def test_terminate_ends_the_whole_group_and_retires_the_name(
    server: TrainingServer, waiting_pod: dict[str, str]
) -> None:
    server.create("a", waiting_pod)
    wait_until(lambda: len(server.processes()) == 2)
    # A stopped process does not hear SIGTERM: only SIGKILL after the grace ends it.
    next(one for one in server.processes() if not _leads(one)).suspend()

    for _ in range(2):
        assert server.client.delete("/v1/machines/a").status_code == 202
    wait_until(lambda: server.state("a") == "terminated")
    assert not server.processes()
    assert server.create("a", waiting_pod).json()["code"] == "name_retired"
    assert not (server.data_dir / "machines" / "a" / "env.json").exists()
    assert not (server.data_dir / "machines" / "a" / "workspace").exists()
    assert server.client.delete("/v1/machines/a").status_code == 202


def test_a_late_request_for_a_terminated_name_starts_nothing(
    server: TrainingServer, waiting_pod: dict[str, str]
) -> None:
    missing = server.client.delete("/v1/machines/late")
    assert (missing.status_code, missing.json()["code"]) == (404, "machine_not_found")
    assert server.create("late", waiting_pod).status_code == 410
    server.kill()
    server.start()
    assert server.create("late", waiting_pod).status_code == 410
    assert server.client.get("/v1/machines").json() == {"machines": []}


def test_one_slot_runs_one_job_and_the_rest_queue(server: TrainingServer, waiting_pod: dict[str, str]) -> None:
    for name in ("a", "b", "c"):
        server.create(name, waiting_pod)
    wait_until(lambda: server.state("a") == "running")
    assert [server.machine(name)["queue_position"] for name in ("a", "b", "c")] == [None, 1, 2]
    (offer,) = server.client.get("/v1/offers").json()["offers"]
    assert (offer["gpu_type"], offer["slots_total"], offer["slots_free"]) == ("cpu", 1, 0)

    server.kill()
    server.start()
    server.client.delete("/v1/machines/b")
    assert server.state("b") == "terminated"
    server.client.delete("/v1/machines/a")
    wait_until(lambda: server.state("c") == "running")
    assert server.state("a") == "terminated"
    assert server.machine("c")["slot"] == 0


def test_a_killed_runner_leaves_no_job_behind(server: TrainingServer, waiting_pod: dict[str, str]) -> None:
    server.create("a", waiting_pod)
    wait_until(lambda: len(server.processes()) == 2)
    next(one for one in server.processes() if _leads(one)).kill()
    wait_until(lambda: server.state("a") == "exited")
    assert server.machine("a")["exit_code"] == -9
    assert not server.processes()


def test_after_a_restart_of_the_host_nothing_runs_and_nothing_starts_again(
    server: TrainingServer, waiting_pod: dict[str, str]
) -> None:
    server.create("a", waiting_pod)
    wait_until(lambda: len(server.processes()) == 2)
    server.kill()
    os.killpg(os.getpgid(server.processes()[0].pid), signal.SIGKILL)
    wait_until(lambda: not server.processes())
    # The number now belongs to a process of somebody else: this one.
    file = server.data_dir / "machines" / "a" / "runner.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"pid": os.getpid()}))
    server.start()
    wait_until(lambda: server.state("a") == "exited")
    assert server.machine("a")["exit_code"] == -9
    assert server.create("a", waiting_pod).status_code == 200
    assert not server.processes()


def _leads(process: psutil.Process) -> bool:
    """True for the runner; its pod is in the same group."""
    return os.getpgid(process.pid) == process.pid


def test_a_full_disk_is_said_and_leaves_nothing(
    make_server: Callable[..., TrainingServer], waiting_pod: dict[str, str]
) -> None:
    server = make_server(MINIMUM_FREE_BYTES=str(1 << 60))
    server.start()
    answer = server.create("a", waiting_pod)
    assert (answer.status_code, answer.json()["code"]) == (507, "storage_full")
    server.kill()
    # A disk on which no byte more can be written, as far as the process can tell.
    server.settings["MINIMUM_FREE_BYTES"] = "0"
    server.start(before=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0)))
    assert server.create("a", waiting_pod).status_code == 507
    assert list((server.data_dir / "machines").iterdir()) == []
    assert server.client.get("/v1/machines").json() == {"machines": []}


def test_nobody_gets_in_without_the_key(idle_server: TrainingServer) -> None:
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": API_KEY}):
        answer = httpx.get(f"{idle_server.client.base_url}/v1/machines", headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (401, "not_authorised")
    assert httpx.get(f"{idle_server.client.base_url}/healthz").is_success


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"name": "No Good", "env": {}}, "body.name"),
        ({"name": "a", "env": {"BAD NAME": "x"}}, "body.env"),
        ({"name": "a", "env": {}, "gpu_count": 1}, "gpu_count 1"),
        ({"name": "a", "env": {}, "more": 1}, "body.more"),
    ],
)
def test_a_request_that_cannot_be_carried_out_is_refused(idle_server: TrainingServer, body: Any, named: str) -> None:
    answer = idle_server.client.post("/v1/machines", json=body)
    assert answer.status_code == 422
    assert named in answer.json()["detail"]


def test_models_are_inspected_without_torch(idle_server: TrainingServer) -> None:
    facts = idle_server.client.post("/v1/models/inspect", json={"name_or_path": "tiny"}).json()
    assert (facts["architecture"], facts["layers"], facts["hidden_size"]) == ("LlamaForCausalLM", 4, 128)
    assert 600_000 < facts["parameters"] < 700_000
    assert facts["has_chat_template"]
    missing = idle_server.client.post("/v1/models/inspect", json={"name_or_path": "./none"})
    assert (missing.status_code, missing.json()["code"]) == (404, "model_not_found")
    assert idle_server.process
    assert "libtorch" not in Path(f"/proc/{idle_server.process.pid}/maps").read_text()


def test_an_absurd_setting_stops_the_start_with_its_name(tmp_path: Path) -> None:
    env = {"DATA_DIR": str(tmp_path), "API_KEY": "short", "TERMINATE_GRACE": "0", "CPU_SLOTS": "many", "PORT": "99999"}
    env = {f"STOKER_TRAINING_SERVER_{name}": value for name, value in env.items()}
    command = [sys.executable, "-m", "stoker_trainer.server"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    for name in ("API_KEY", "TERMINATE_GRACE", "CPU_SLOTS", "PORT"):
        assert f"STOKER_TRAINING_SERVER_{name}:" in done.stderr
    assert "short" not in done.stderr.replace("shorter", "")

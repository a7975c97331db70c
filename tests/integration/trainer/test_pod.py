"""A pod as a process: from the download to the exit report, and every way to end."""

import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

import pytest
from starlette.responses import Response, StreamingResponse

from stoker_trainer.download import Renewal, download_dataset
from stoker_trainer.errors import ArtifactUploadFailed, DatasetChecksumMismatch, DatasetUnreadable
from stoker_trainer.upload import upload_folder
from tests.support.corpus.writing import gzipped, zstd
from tests.support.pod_receiver import DOWNLOAD_TOKEN, TOKEN, PodReceiver, wait_until
from tests.support.tiny_run import config_json


class Pod:
    """A pod in a process of its own; output in `output`."""

    started: ClassVar[list[subprocess.Popen[str]]] = []

    def __init__(self, receiver: PodReceiver, workspace: Path, folder: Path, **config: Any) -> None:
        env = receiver.pod_environment(workspace, config=config_json(folder, **config), model=str(folder))
        self.env = {name: os.environ[name] for name in ("PATH", "HOME")} | env
        self.process: subprocess.Popen[str] | None = None
        self.output = ""

    def start(self) -> None:
        command = [sys.executable, "-m", "stoker_trainer.pod"]
        self.process = subprocess.Popen(
            command, env=self.env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self.started.append(self.process)

    def wait(self) -> int:
        assert self.process
        self.output, _ = self.process.communicate(timeout=240)
        return self.process.returncode

    def run(self) -> int:
        self.start()
        return self.wait()


@pytest.fixture(autouse=True)
def _no_pod_stays() -> Iterator[None]:
    yield
    for process in Pod.started:
        process.kill()
        process.wait()
    Pod.started.clear()


def test_an_attempt_that_is_ordered_to_land_stores_its_model_and_its_checkpoint(
    receiver: PodReceiver, tmp_path: Path, tiny_model: Path
) -> None:
    deadline = (datetime.now(UTC) + timedelta(minutes=3)).isoformat()

    def order_when_landing_is_measured(kind: str, _body: Any) -> Response | None:
        if any(beat["landing_seconds"] for beat in receiver.records("heartbeat")):
            receiver.control = {"action": "land", "reason": "budget", "deadline": deadline}
        return None

    receiver.rule = order_when_landing_is_measured
    pod = Pod(receiver, tmp_path, tiny_model, length={"max_steps": 100_000}, checkpoint_every_steps=3)
    assert pod.run() == 0, pod.output
    (ending,) = receiver.records("exit")
    assert ending["reason"] == "landed"
    assert ending["message"].startswith("landed after step ")
    step = ending["summary"]["steps"]
    assert {"adapter_model.safetensors", "receipt.json", f"checkpoints/{step}/complete.json"} <= set(receiver.artifacts)
    measured = [beat["landing_seconds"] for beat in receiver.records("heartbeat") if beat["landing_seconds"]]
    assert measured == sorted(measured)


def test_a_whole_attempt_with_an_outage(receiver: PodReceiver, tmp_path: Path, tiny_model: Path) -> None:
    def go_away_after_some_points(kind: str, _body: Any) -> Response | None:
        steps = len(receiver.records("metrics", "points"))
        is_away = steps >= 2 and receiver.requests.count("metrics") < 12
        return Response(status_code=503, headers={"Retry-After": "0.1"}) if kind == "metrics" and is_away else None

    receiver.rule = go_away_after_some_points
    pod = Pod(receiver, tmp_path, tiny_model)
    assert pod.run() == 0, pod.output

    points = receiver.records("metrics", "points")
    assert [point["sequence"] for point in points] == list(range(1, len(points) + 1))
    steps = [point["step"] for point in points if "loss" in point["values"]]
    assert steps == [1, 2, 3, 4, 5, 6]
    assert {"learning_rate", "grad_norm", "epoch", "tokens_per_second", "num_tokens", "mean_token_accuracy"} <= set(
        points[-2]["values"]
    )
    phases = [beat["phase"] for beat in receiver.records("heartbeat")]
    assert list(dict.fromkeys(phases)) == ["preparing", "training", "saving"]

    result = tmp_path / "fine_tuned_model"
    assert receiver.artifacts == {path.name: path.read_bytes() for path in result.iterdir()}
    assert list(receiver.artifacts)[-1] == "receipt.json"

    (ending,) = receiver.records("exit")
    assert (ending["exit_code"], ending["reason"], receiver.requests[-1]) == (0, "success", "exit")
    assert ending["summary"]["steps"] == 6
    assert ending["summary"]["held_out_loss_after"] < ending["summary"]["held_out_loss_before"]

    texts = [
        pod.output,
        str(receiver.taken),
        *(path.read_text("latin-1") for path in tmp_path.rglob("*") if path.is_file()),
    ]
    for secret in (TOKEN, DOWNLOAD_TOKEN):
        assert not any(secret in text for text in texts)

    again = Pod(receiver, tmp_path, tiny_model)
    assert again.run() == 0
    assert "not run again" in again.output
    assert len(receiver.records("exit")) == 1


@pytest.mark.slow
def test_sigterm_saves_a_checkpoint_and_a_restart_goes_on_from_it(
    receiver: PodReceiver, tmp_path: Path, tiny_model: Path
) -> None:
    pod = Pod(receiver, tmp_path, tiny_model, length={"max_steps": 16}, sample_prompts=[])
    pod.start()
    wait_until(lambda: len(receiver.records("metrics", "points")) >= 4)
    assert pod.process
    pod.process.send_signal(signal.SIGTERM)
    assert pod.wait() == 143, pod.output
    assert [one["reason"] for one in receiver.records("exit")] == ["terminated"]
    trained = max(point["step"] for point in receiver.records("metrics", "points"))

    assert pod.run() == 0, pod.output
    assert f"resuming from the checkpoint of step {trained}" in pod.output
    points = receiver.records("metrics", "points")
    assert [point["sequence"] for point in points] == list(range(1, len(points) + 1))
    assert sorted(point["step"] for point in points if "loss" in point["values"]) == list(range(1, 17))


def test_checkpoints_are_stored_while_training_goes_on(receiver: PodReceiver, tmp_path: Path, tiny_model: Path) -> None:
    pod = Pod(receiver, tmp_path, tiny_model, checkpoint_every_steps=3, length={"max_steps": 12}, sample_prompts=[])
    assert pod.run() == 0, pod.output
    names = [name for name in receiver.artifacts if name.startswith("checkpoints/")]
    steps = {int(name.split("/")[1]) for name in names}
    assert steps
    assert steps <= {3, 6, 9, 12}
    manifests = {name: content for name, content in receiver.artifacts.items() if name.endswith("/complete.json")}
    for name, content in manifests.items():
        manifest = json.loads(content)
        folder = name.rpartition("/")[0]
        entries = {f"{folder}/{entry['name']}": entry for entry in manifest["files"]}
        assert {"optimizer.pt", "trainer_state.json", "adapter_model.safetensors", "stoker_seal.json"} <= {
            entry["name"] for entry in manifest["files"]
        }
        for stored, entry in entries.items():
            kept = receiver.artifacts[stored]
            assert (len(kept), hashlib.sha256(kept).hexdigest()) == (entry["bytes"], entry["sha256"])
        assert name == [stored for stored in names if stored.startswith(f"{folder}/")][-1]
    assert manifests
    assert not (tmp_path / "outgoing-checkpoints").exists()


@pytest.mark.slow
@pytest.mark.parametrize(("upload", "warnings"), [(True, 1), (False, 0)])
def test_a_gateway_that_takes_no_checkpoint_does_not_stop_the_training(
    receiver: PodReceiver, tmp_path: Path, tiny_model: Path, upload: Any, warnings: int
) -> None:
    asked: list[str] = []

    def away(kind: str, _body: Any) -> Response | None:
        if not kind.startswith("artifact checkpoints/"):
            return None
        asked.append(kind)
        return Response(status_code=503)

    receiver.rule = away
    changes = {"checkpoint_every_steps": 1, "length": {"max_steps": 12}, "sample_prompts": []}
    pod = Pod(receiver, tmp_path, tiny_model, upload_checkpoints=upload, **changes)
    assert pod.run() == 0, pod.output
    alerts = [alert["code"] for alert in receiver.records("alerts")]
    assert (alerts.count("checkpoint_not_stored"), bool(asked)) == (warnings, upload)
    assert "receipt.json" in receiver.artifacts


def test_a_revoked_token_ends_the_attempt_without_artifacts(
    receiver: PodReceiver, tmp_path: Path, tiny_model: Path
) -> None:
    receiver.downloads_open.clear()
    receiver.rule = lambda kind, _body: Response(status_code=401) if kind == "heartbeat" else None
    pod = Pod(receiver, tmp_path, tiny_model)
    pod.start()
    wait_until(lambda: "heartbeat" in receiver.requests)
    receiver.downloads_open.set()
    assert pod.wait() == 17, pod.output
    assert not receiver.artifacts
    assert "exit" not in receiver.taken


@pytest.mark.parametrize(
    ("changes", "config", "reason"),
    [
        ({"DATASET_SHA256": "0" * 64}, {}, "dataset_checksum_mismatch"),
        ({"DATASET_URL": "{url}/no-such-dataset?token=unknown"}, {}, "dataset_unreadable"),
        ({}, {"data": {"format": "text"}}, "dataset_method_mismatch"),
        ({}, {"model": {"name_or_path": "/no/such/model"}}, "model_not_found"),
        ({}, {"no_such_key": 1}, "trainer_error"),
    ],
)
def test_a_failure_is_reported_with_its_reason(
    receiver: PodReceiver,
    tmp_path: Path,
    tiny_model: Path,
    changes: dict[str, str],
    config: dict[str, Any],
    reason: str,
) -> None:
    pod = Pod(receiver, tmp_path, tiny_model, **config)
    pod.env |= {name: value.format(url=receiver.url) for name, value in changes.items()}
    exit_code = pod.run()
    (ending,) = receiver.records("exit")
    assert (ending["reason"], ending["exit_code"]) == (reason, exit_code), pod.output
    assert exit_code != 0
    assert ending["message"]
    assert ending["last_lines"]
    assert ending["summary"] == {}
    assert receiver.records("alerts")[0]["code"] == reason


def test_a_missing_variable_is_named(receiver: PodReceiver, tmp_path: Path) -> None:
    pod = Pod(receiver, tmp_path, Path("/m"))
    del pod.env["METRICS_API_URL"]
    assert pod.run() == 2
    assert "METRICS_API_URL" in pod.output


def fetch(receiver: PodReceiver, folder: Path, **changes: Any) -> Path:
    arguments: dict[str, Any] = {
        "folder": folder,
        "filename": "data.jsonl",
        "sha256": hashlib.sha256(receiver.dataset).hexdigest(),
        "log": print,
        "give_up_after": timedelta(seconds=10),
    }
    return download_dataset(f"{receiver.url}/dataset?token={DOWNLOAD_TOKEN}", **arguments | changes)


def test_a_broken_download_goes_on_where_it_broke(receiver: PodReceiver, tmp_path: Path) -> None:
    ranges: list[str | None] = []

    async def half() -> Any:
        yield receiver.dataset[:2000]
        raise ConnectionResetError

    def break_once(_kind: str, headers: Any) -> Response | None:
        ranges.append(headers.get("range"))
        etag = f'"{hashlib.sha256(receiver.dataset).hexdigest()}"'
        return StreamingResponse(half(), headers={"ETag": etag}) if len(ranges) == 1 else None

    receiver.rule = break_once
    assert fetch(receiver, tmp_path).read_bytes() == receiver.dataset
    assert ranges == [None, "bytes=2000-"]


def renewal(receiver: PodReceiver) -> Renewal:
    return Renewal(f"{receiver.url}/v1/jobs/job-1/downloads", TOKEN)


def test_a_token_that_runs_out_in_mid_download_is_renewed_and_the_download_goes_on(
    receiver: PodReceiver, tmp_path: Path
) -> None:
    asked: list[tuple[str, str | None]] = []

    async def half() -> Any:
        yield receiver.dataset[:2000]
        raise ConnectionResetError

    def run_out(kind: str, detail: Any) -> Response | None:
        asked.append((kind, detail.get("range") if kind == "dataset" else None))
        if kind == "downloads":
            url = f"{receiver.url}/dataset?token={DOWNLOAD_TOKEN}&again=1"
            return Response(f'{{"download_url": "{url}"}}', status_code=201)
        if len(asked) == 1:
            etag = f'"{hashlib.sha256(receiver.dataset).hexdigest()}"'
            return StreamingResponse(half(), headers={"ETag": etag})
        return Response(status_code=401) if len(asked) == 2 else None

    receiver.rule = run_out
    assert fetch(receiver, tmp_path, renewal=renewal(receiver)).read_bytes() == receiver.dataset
    assert asked == [("dataset", None), ("dataset", "bytes=2000-"), ("downloads", None), ("dataset", "bytes=2000-")]


def test_a_token_that_is_not_renewed_ends_the_download_with_the_reason(receiver: PodReceiver, tmp_path: Path) -> None:
    receiver.rule = lambda _kind, _detail: Response(status_code=401)
    with pytest.raises(DatasetUnreadable, match="attempt is over"):
        fetch(receiver, tmp_path, renewal=renewal(receiver))

    def useless(kind: str, _detail: Any) -> Response | None:
        if kind == "downloads":
            return Response(f'{{"download_url": "{receiver.url}/dataset?token={DOWNLOAD_TOKEN}"}}', status_code=201)
        return Response(status_code=401)

    receiver.rule = useless
    with pytest.raises(DatasetUnreadable, match="401"):
        fetch(receiver, tmp_path, renewal=renewal(receiver))


@pytest.mark.parametrize(("suffix", "packing", "pack"), [(".gz", "gzip", gzipped), (".zst", "zstd", zstd)])
def test_a_packed_dataset_is_unpacked(
    receiver: PodReceiver, tmp_path: Path, suffix: str, packing: str, pack: Callable[[bytes], bytes]
) -> None:
    plain, receiver.dataset = receiver.dataset, pack(receiver.dataset)
    path = fetch(receiver, tmp_path, filename=f"data.jsonl{suffix}")
    assert (path.name, path.read_bytes()) == ("data.jsonl", plain)
    receiver.dataset = receiver.dataset[:-9]
    with pytest.raises(DatasetUnreadable, match=packing):
        fetch(receiver, tmp_path / "cut", filename=f"data.jsonl{suffix}")


def test_wrong_bytes_are_fetched_twice_and_then_refused(receiver: PodReceiver, tmp_path: Path) -> None:
    with pytest.raises(DatasetChecksumMismatch):
        fetch(receiver, tmp_path, sha256="0" * 64)
    assert not (tmp_path / "data.jsonl").exists()


def test_uploads_are_tried_again_and_the_same_content_counts_as_stored(receiver: PodReceiver, tmp_path: Path) -> None:
    (tmp_path / "a b.bin").write_bytes(b"x" * 3_000_000)
    (tmp_path / "receipt.json").write_text("{}")
    answers = [Response(status_code=503, headers={"Retry-After": "0"}), Response(status_code=500)]
    sha256 = hashlib.sha256(b"{}").hexdigest()

    def rule(kind: str, _body: Any) -> Response | None:
        if kind == "artifact receipt.json":
            return Response(f'{{"sha256": "{sha256}"}}', status_code=409)
        return answers.pop() if answers else None

    receiver.rule = rule
    jobs = f"{receiver.url}/v1/jobs/job-1/artifacts"
    assert upload_folder(tmp_path, url=jobs, token=TOKEN, log=print, give_up_after=timedelta(seconds=20)) == 2
    assert list(receiver.artifacts) == ["a b.bin"]

    receiver.rule = lambda _kind, _body: Response("name taken", status_code=409)
    with pytest.raises(ArtifactUploadFailed, match="name taken"):
        upload_folder(tmp_path, url=jobs, token=TOKEN, log=print)

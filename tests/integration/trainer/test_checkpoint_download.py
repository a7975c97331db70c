"""A checkpoint comes back to another machine: continued, checked, and passed over where it is damaged."""

import hashlib
import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from starlette.responses import Response, StreamingResponse

from stoker_trainer.checkpoint_download import CheckpointGateway, GatewayAway, fetch_checkpoint
from stoker_trainer.checkpoint_upload import manifest_of
from stoker_trainer.checkpoints import last_whole_checkpoint, seal_checkpoint
from stoker_trainer.errors import TokenRejected
from stoker_trainer.files import read_json
from tests.support.pod_receiver import TOKEN, PodReceiver

RUN = "this very run"
FILES = ("trainer_state.json", "optimizer.pt", "scheduler.pt", "adapter_model.safetensors")


@pytest.fixture
def gateway(receiver: PodReceiver) -> Iterator[CheckpointGateway]:
    made = gateway_of(receiver)
    yield made
    made.close()


def gateway_of(receiver: PodReceiver, *, token: str = TOKEN, seconds: float = 60) -> CheckpointGateway:
    url = f"{receiver.url}/v1/jobs/job-1/checkpoints"
    return CheckpointGateway(url, token=token, log=print, give_up_after=timedelta(seconds=seconds))


def store(receiver: PodReceiver, scratch: Path, step: int, *, fingerprint: str = RUN) -> None:
    """What an attempt before has left at the gateway."""
    folder = scratch / f"checkpoint-{step}"
    folder.mkdir(parents=True)
    for name in FILES:
        (folder / name).write_bytes(f"{name} of {step}".encode() * 1000)
    seal_checkpoint(folder, fingerprint=fingerprint)
    entries: list[dict[str, Any]] = []
    for path in folder.iterdir():
        content = path.read_bytes()
        receiver.artifacts[f"checkpoints/{step}/{path.name}"] = content
        entries.append({"name": path.name, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()})
    manifest = manifest_of(step, seal=read_json(folder / "stoker_seal.json"), files=entries)
    receiver.artifacts[f"checkpoints/{step}/complete.json"] = json.dumps(manifest).encode()


def fetched(gateway: CheckpointGateway, folder: Path) -> str | None:
    fetch_checkpoint(gateway, folder, fingerprint=RUN, log=print)
    found = last_whole_checkpoint(folder, fingerprint=RUN)
    assert not list(folder.glob("fetching-*"))
    return found.name if found else None


def damage(receiver: PodReceiver, name: str) -> None:
    receiver.announced[name] = hashlib.sha256(receiver.artifacts[name]).hexdigest()
    receiver.artifacts[name] = receiver.artifacts[name][::-1]


def test_the_newest_checkpoint_is_fetched_byte_by_byte(
    receiver: PodReceiver, gateway: CheckpointGateway, tmp_path: Path
) -> None:
    for step in (5, 10):
        store(receiver, tmp_path / "before", step)
    assert fetched(gateway, tmp_path / "here") == "checkpoint-10"
    for path in (tmp_path / "before" / "checkpoint-10").iterdir():
        assert (tmp_path / "here" / "checkpoint-10" / path.name).read_bytes() == path.read_bytes()


def test_without_any_checkpoint_nothing_is_there(gateway: CheckpointGateway, tmp_path: Path) -> None:
    assert fetched(gateway, tmp_path / "here") is None


@pytest.mark.parametrize("name", ["optimizer.pt", "complete.json", "stoker_seal.json"])
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(
    receiver: PodReceiver, gateway: CheckpointGateway, tmp_path: Path, name: str
) -> None:
    for step in (5, 10):
        store(receiver, tmp_path / "before", step)
    damage(receiver, f"checkpoints/10/{name}")
    assert fetched(gateway, tmp_path / "here") == "checkpoint-5"


def test_a_checkpoint_with_a_missing_file_is_passed_over(
    receiver: PodReceiver, gateway: CheckpointGateway, tmp_path: Path
) -> None:
    for step in (5, 10):
        store(receiver, tmp_path / "before", step)
    del receiver.artifacts["checkpoints/10/scheduler.pt"]
    assert fetched(gateway, tmp_path / "here") == "checkpoint-5"


def test_when_all_are_damaged_training_begins_at_the_first_step(
    receiver: PodReceiver, gateway: CheckpointGateway, tmp_path: Path
) -> None:
    for step in (5, 10):
        store(receiver, tmp_path / "before", step)
        damage(receiver, f"checkpoints/{step}/optimizer.pt")
    assert fetched(gateway, tmp_path / "here") is None


def test_a_checkpoint_of_another_run_is_not_taken(
    receiver: PodReceiver, gateway: CheckpointGateway, tmp_path: Path
) -> None:
    store(receiver, tmp_path / "before", 5)
    store(receiver, tmp_path / "before", 10, fingerprint="other settings")
    assert fetched(gateway, tmp_path / "here") == "checkpoint-5"


def test_a_newer_checkpoint_on_this_machine_is_kept(
    receiver: PodReceiver, gateway: CheckpointGateway, tmp_path: Path
) -> None:
    store(receiver, tmp_path / "here", 10)
    receiver.artifacts.clear()
    store(receiver, tmp_path / "before", 5)
    assert fetched(gateway, tmp_path / "here") == "checkpoint-10"


def test_a_file_that_leads_elsewhere_is_refused(
    receiver: PodReceiver, gateway: CheckpointGateway, tmp_path: Path
) -> None:
    store(receiver, tmp_path / "before", 5)
    manifest = json.loads(receiver.artifacts["checkpoints/5/complete.json"])
    manifest["files"][0]["name"] = "../../escaped"
    receiver.artifacts["checkpoints/5/complete.json"] = json.dumps(manifest).encode()
    assert fetched(gateway, tmp_path / "here") is None
    assert not list(tmp_path.rglob("escaped"))


def test_a_download_that_breaks_off_goes_on_at_its_byte(
    receiver: PodReceiver, gateway: CheckpointGateway, tmp_path: Path
) -> None:
    store(receiver, tmp_path / "before", 5)
    ranges: list[str | None] = []

    def break_off_once(kind: str, headers: Any) -> Response | None:
        if not kind.endswith("optimizer.pt"):
            return None
        ranges.append(headers.get("Range"))
        if len(ranges) > 1:
            return None
        content = receiver.artifacts["checkpoints/5/optimizer.pt"]

        async def half() -> Any:
            yield content[:7000]
            raise ConnectionAbortedError

        return StreamingResponse(half(), headers={"Content-Length": str(len(content))})

    receiver.rule = break_off_once
    assert fetched(gateway, tmp_path / "here") == "checkpoint-5"
    assert ranges == [None, "bytes=7000-"]


def test_a_gateway_that_is_away_is_waited_for(
    receiver: PodReceiver, gateway: CheckpointGateway, tmp_path: Path
) -> None:
    store(receiver, tmp_path / "before", 5)
    answers = iter([503, 502])
    receiver.rule = lambda _kind, _body: Response(status_code=status) if (status := next(answers, None)) else None
    assert fetched(gateway, tmp_path / "here") == "checkpoint-5"


def test_a_gateway_that_stays_away_is_given_up(receiver: PodReceiver, tmp_path: Path) -> None:
    receiver.rule = lambda _kind, _body: Response(status_code=503)
    gateway = gateway_of(receiver, seconds=0.2)
    with pytest.raises(GatewayAway, match="the list of checkpoints"):
        fetch_checkpoint(gateway, tmp_path, fingerprint=RUN, log=print)


def test_a_revoked_token_ends_the_attempt(receiver: PodReceiver, tmp_path: Path) -> None:
    with pytest.raises(TokenRejected):
        fetch_checkpoint(gateway_of(receiver, token="another"), tmp_path, fingerprint=RUN, log=print)

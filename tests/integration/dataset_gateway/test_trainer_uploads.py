"""The trainer's own uploads against a real gateway: resumed, repeated, in the background."""

import asyncio
import json
import os
import signal
import threading
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from stoker_shared.rpc.dataset_gateway import LIST_ARTIFACTS, REVOKE, ArtifactFacts, ListArtifacts, RevokeAttempt
from stoker_trainer.artifacts import Accepted, ArtifactGateway, Refusal, UploadStopped
from stoker_trainer.checkpoint_upload import CheckpointUploader
from stoker_trainer.checkpoints import NEEDED, seal_checkpoint
from stoker_trainer.errors import ArtifactUploadFailed, TokenRejected
from stoker_trainer.upload import UploadRules, upload_file, upload_folder
from tests.integration.dataset_gateway.conftest import JobAccess, World
from tests.integration.dataset_gateway.parts import content_of, new_attempt, sha256
from tests.support.ports import free_port

SETTINGS = {"sweep_every": "PT0.5S", "write_lease": "PT3S", "max_job_bytes": str(150_000_000)}
RULES = UploadRules(parts_above_bytes=1_000_000)


class WatchedGateway(ArtifactGateway):
    """Notes the parts that it sends; `damage` that many of them; `stop_after` so many."""

    damage = 0
    stop_after = 10**6

    def __init__(self, url: str, token: str, *, give_up_after: float = 60) -> None:
        super().__init__(url, token=token, log=print, give_up_after=timedelta(seconds=give_up_after))
        self.sent: list[int] = []
        self.at_once = self.most_at_once = 0
        self._lock = threading.Lock()

    def put_part(self, upload: str, number: int, data: bytes, *, sha256: str) -> Accepted | Refusal:
        """Send it, whole or damaged."""
        with self._lock:
            self.sent.append(number)
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
            is_damaged, self.damage = self.damage > 0, self.damage - 1
        try:
            answer = super().put_part(upload, number, data[::-1] if is_damaged else data, sha256=sha256)
        finally:
            with self._lock:
                self.at_once -= 1
        if len(self.sent) >= self.stop_after:
            self.stop.set()
        return answer


def gateway_of(world: World, access: JobAccess, **options: Any) -> WatchedGateway:
    return WatchedGateway(f"{world.gateway.url}/v1/jobs/{access.job_id}/artifacts", access.token, **options)


def write(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


async def listed(world: World, access: JobAccess) -> dict[str, ArtifactFacts]:
    found = await world.peers.ask(LIST_ARTIFACTS, ListArtifacts(owner=world.owner, job_id=access.job_id))
    return {entry.name: entry for entry in found.artifacts}


async def test_a_folder_goes_in_parts_and_whole_and_a_repeated_upload_sends_nothing(
    world: World, tmp_path: Path
) -> None:
    access, content = (await new_attempt(world)).access, content_of(7)
    write(tmp_path / "merged/model.safetensors", content)
    write(tmp_path / "receipt.json", b"{}")
    url = f"{world.gateway.url}/v1/jobs/{access.job_id}/artifacts"
    for _ in range(2):
        count = await asyncio.to_thread(upload_folder, tmp_path, url=url, token=access.token, log=print, rules=RULES)
        assert count == 2
    found = await listed(world, access)
    assert {name: entry.sha256 for name, entry in found.items()} == {
        "merged/model.safetensors": sha256(content),
        "receipt.json": sha256(b"{}"),
    }
    assert await world.sql(f"SELECT state FROM artifact_uploads WHERE job_id = '{access.job_id}'") == [("stored",)]


async def test_parts_go_several_at_a_time_but_not_more_than_said(world: World, tmp_path: Path) -> None:
    access, path = (await new_attempt(world)).access, write(tmp_path / "a.bin", content_of(9))
    gateway = gateway_of(world, access)
    await asyncio.to_thread(upload_file, path, "a.bin", gateway=gateway, rules=RULES)
    assert 1 < gateway.most_at_once <= RULES.parts_at_once
    assert sorted(gateway.sent) == list(range(1, 10))


async def test_a_trainer_that_was_restarted_sends_what_is_missing(world: World, tmp_path: Path) -> None:
    access, path = (await new_attempt(world)).access, write(tmp_path / "a.bin", content_of(9))
    first = gateway_of(world, access)
    first.stop_after = 4
    with pytest.raises(UploadStopped):
        await asyncio.to_thread(upload_file, path, "a.bin", gateway=first, rules=RULES)
    ((stored,),) = await world.sql("SELECT count(*) FROM artifact_parts")
    assert 0 < stored < 9
    second = gateway_of(world, access)
    await asyncio.to_thread(upload_file, path, "a.bin", gateway=second, rules=RULES)
    assert len(second.sent) == 9 - stored
    assert (await listed(world, access))["a.bin"].sha256 == sha256(path.read_bytes())


async def test_a_gateway_that_dies_in_mid_upload_is_waited_for(world: World, tmp_path: Path) -> None:
    access, path = (await new_attempt(world)).access, write(tmp_path / "a.bin", content_of(9))
    gateway = gateway_of(world, access)
    sending = asyncio.create_task(asyncio.to_thread(upload_file, path, "a.bin", gateway=gateway, rules=RULES))
    await world.until(lambda: len(gateway.sent) >= 3)
    world.gateway.stop(signal.SIGKILL)
    await asyncio.to_thread(world.gateway.start, **SETTINGS)
    await sending
    assert (await listed(world, access))["a.bin"].sha256 == sha256(path.read_bytes())


async def test_a_part_that_was_damaged_on_the_way_is_sent_once_more_and_then_given_up(
    world: World, tmp_path: Path
) -> None:
    access, path = (await new_attempt(world)).access, write(tmp_path / "a.bin", content_of(2))
    gateway = gateway_of(world, access)
    gateway.damage = 1
    await asyncio.to_thread(upload_file, path, "a.bin", gateway=gateway, rules=RULES)
    assert len(gateway.sent) == 3
    always = gateway_of(world, access)
    always.damage = 10**6
    with pytest.raises(ArtifactUploadFailed, match="422"):
        await asyncio.to_thread(upload_file, path, "b.bin", gateway=always, rules=RULES)


async def test_what_no_retry_mends_is_said_at_once(world: World, tmp_path: Path) -> None:
    access, path = (await new_attempt(world)).access, tmp_path / "a.bin"
    with path.open("wb") as file:
        file.truncate(200_000_000)
    with pytest.raises(ArtifactUploadFailed, match="150000000"):
        await asyncio.to_thread(upload_file, path, "a.bin", gateway=gateway_of(world, access), rules=RULES)
    await world.peers.ask(REVOKE, RevokeAttempt(job_id=access.job_id, attempt=1))
    with pytest.raises(TokenRejected):
        await asyncio.to_thread(upload_file, path, "a.bin", gateway=gateway_of(world, access), rules=RULES)


def checkpoint(folder: Path, step: int) -> Path:
    path = folder / f"checkpoint-{step}"
    for name in (*NEEDED, "adapter_model.safetensors"):
        write(path / name, os.urandom(2_000_000 if name == "optimizer.pt" else 1000))
    seal_checkpoint(path, fingerprint="run")
    return path


async def test_checkpoints_are_sent_beside_the_training_and_the_newest_stay(world: World, tmp_path: Path) -> None:
    access = (await new_attempt(world)).access
    warnings: list[tuple[str, str]] = []
    uploader = CheckpointUploader(
        gateway_of(world, access),
        folder=tmp_path / "outgoing",
        keep=2,
        log=print,
        warn=lambda code, text: warnings.append((code, text)),
        rules=RULES,
    )
    uploader.start()
    for step in (10, 20, 30):
        path = checkpoint(tmp_path, step)
        uploader.offer(path)
        contents = {entry.name: entry.read_bytes() for entry in path.iterdir()}
        for entry in path.iterdir():  # as the trainer does with its older ones
            entry.unlink()
        manifest_name = f"checkpoints/{step}/complete.json"
        while manifest_name not in await listed(world, access):  # noqa: ASYNC110 - the other side is another process
            await asyncio.sleep(0.05)
    assert await asyncio.to_thread(uploader.close, patience_seconds=20)
    found = await listed(world, access)
    assert {name.split("/")[1] for name in found} == {"20", "30"}
    assert {name: entry.sha256 for name, entry in found.items() if "/30/" in name and "complete" not in name} == {
        f"checkpoints/30/{name}": sha256(content) for name, content in contents.items()
    }
    (key,) = [key for key in world.keys(f"artifacts/{access.job_id}/") if key.endswith("/30/complete.json")]
    bucket = world.servers.bucket
    manifest = json.loads(bucket.client().get_object(bucket.bucket, key).data)
    assert (manifest["step"], manifest["fingerprint"]) == (30, "run")
    assert {entry["name"]: entry["sha256"] for entry in manifest["files"]} == {
        name: sha256(content) for name, content in contents.items()
    }
    assert warnings == []
    assert not (tmp_path / "outgoing").exists()


def test_a_gateway_that_is_not_there_costs_the_training_nothing_but_a_warning(tmp_path: Path) -> None:
    dead = WatchedGateway(f"http://127.0.0.1:{free_port()}/v1/jobs/job-1/artifacts", "token", give_up_after=600)
    warnings: list[str] = []
    uploader = CheckpointUploader(
        dead, folder=tmp_path / "outgoing", keep=2, log=print, warn=lambda code, _text: warnings.append(code)
    )
    uploader.start()
    folders = [checkpoint(tmp_path, step) for step in range(1, 21)]
    started = time.monotonic()
    for folder in folders:
        uploader.offer(folder)
    assert time.monotonic() - started < 2
    assert len(list((tmp_path / "outgoing").iterdir())) <= 2
    assert uploader.close(patience_seconds=1) is False
    assert warnings == ["checkpoint_not_stored"]
    assert time.monotonic() - started < 10

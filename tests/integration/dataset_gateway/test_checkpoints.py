"""Checkpoints go to the next attempt of the same job, and are kept for it however long it waits."""

import asyncio
import hashlib
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx

from stoker_shared.rpc.dataset_gateway import REVOKE, RevokeAttempt
from stoker_trainer.checkpoint_download import CheckpointGateway, fetch_checkpoint
from stoker_trainer.checkpoint_upload import manifest_of
from stoker_trainer.checkpoints import NEEDED, last_whole_checkpoint, seal_checkpoint
from stoker_trainer.files import read_json
from tests.integration.dataset_gateway.conftest import JobAccess, World
from tests.integration.dataset_gateway.parts import new_attempt
from tests.integration.dataset_gateway.test_keeping_artifacts import age, listed

SETTINGS = {"sweep_every": "PT0.5S"}
RUN = "this very run"


async def store(world: World, access: JobAccess, folder: Path, step: int) -> dict[str, bytes]:
    """Send a checkpoint as a trainer does; returns its files."""
    made = folder / f"checkpoint-{step}"
    made.mkdir(parents=True)
    for name in (*NEEDED, "adapter_model.safetensors"):
        (made / name).write_bytes(f"{name} of step {step}".encode() * 500)
    seal_checkpoint(made, fingerprint=RUN)
    files = {path.name: path.read_bytes() for path in sorted(made.iterdir())}
    entries: list[dict[str, Any]] = [
        {"name": name, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        for name, content in files.items()
    ]
    manifest = json.dumps(manifest_of(step, seal=read_json(made / "stoker_seal.json"), files=entries)).encode()
    for name, content in {**files, "complete.json": manifest}.items():
        assert (await world.put_artifact(access, f"checkpoints/{step}/{name}", content)).status_code == 201
    return files


async def get(world: World, access: JobAccess, path: str, **headers: str) -> httpx.Response:
    sent = {"Authorization": f"Bearer {access.token}", "Accept-Encoding": "identity", **headers}
    return await world.http.get(f"{world.gateway.url}/v1/jobs/{access.job_id}/checkpoints/{path}", headers=sent)


async def revoke(world: World, access: JobAccess, *, another_follows: bool) -> None:
    over = RevokeAttempt(job_id=access.job_id, attempt=access.attempt, another_follows=another_follows)
    await world.peers.ask(REVOKE, over)


async def test_the_next_attempt_fetches_what_the_one_before_has_stored(world: World, tmp_path: Path) -> None:
    first = (await new_attempt(world)).access
    for step in (4, 8):
        files = await store(world, first, tmp_path / "before", step)
    # One is on its way: without complete.json it is not whole.
    await world.put_artifact(first, "checkpoints/12/optimizer.pt", b"half of it")
    await revoke(world, first, another_follows=True)
    second = (await new_attempt(world, job_id=first.job_id, attempt=2)).access
    gateway = CheckpointGateway(
        f"{world.gateway.url}/v1/jobs/{second.job_id}/checkpoints",
        token=second.token,
        log=print,
        give_up_after=timedelta(seconds=60),
    )
    here = tmp_path / "here"
    await asyncio.to_thread(fetch_checkpoint, gateway, here, fingerprint=RUN, log=print)
    assert last_whole_checkpoint(here, fingerprint=RUN) == here / "checkpoint-8"
    assert {path.name: path.read_bytes() for path in (here / "checkpoint-8").iterdir()} == files


async def test_the_newest_whole_checkpoint_is_told_and_those_before_it(world: World, tmp_path: Path) -> None:
    first = (await new_attempt(world)).access
    assert (await get(world, first, "latest")).status_code == 404
    await store(world, first, tmp_path, 4)
    second = (await new_attempt(world, job_id=first.job_id, attempt=2)).access
    await store(world, second, tmp_path, 8)
    told = [(await get(world, second, f"latest?skip={skip}")) for skip in (0, 1, 2)]
    assert [answer.status_code for answer in told] == [200, 200, 404]
    assert [(answer.json()["attempt"], answer.json()["step"]) for answer in told[:2]] == [(2, 8), (1, 4)]
    assert {"complete.json", "optimizer.pt"} <= {file["name"] for file in told[0].json()["files"]}


async def test_files_are_served_in_ranges_to_the_jobs_own_token_alone(world: World, tmp_path: Path) -> None:
    access = (await new_attempt(world)).access
    content = (await store(world, access, tmp_path, 4))["optimizer.pt"]
    whole = await get(world, access, "1/4/optimizer.pt")
    assert (whole.status_code, whole.content) == (200, content)
    part = await get(world, access, "1/4/optimizer.pt", **{"Range": "bytes=1000-", "If-Range": whole.headers["ETag"]})
    assert (part.status_code, part.content) == (206, content[1000:])
    assert (await get(world, access, "1/4/no-such-file")).status_code == 404
    assert (await get(world, access, "2/4/optimizer.pt")).status_code == 404
    foreign = (await new_attempt(world)).access
    for path in ("latest", "1/4/optimizer.pt"):
        assert (await get(world, JobAccess(access.job_id, 1, foreign.token), path)).status_code == 403
    await revoke(world, access, another_follows=False)
    for path in ("latest", "1/4/optimizer.pt"):
        assert (await get(world, access, path)).status_code == 401


async def test_checkpoints_are_kept_while_the_job_waits_for_its_next_attempt(world: World, tmp_path: Path) -> None:
    waits, ended = [(await new_attempt(world)).access for _ in range(2)]
    for access in (waits, ended):
        await store(world, access, tmp_path / access.job_id, 4)
    await revoke(world, waits, another_follows=True)
    await revoke(world, ended, another_follows=False)
    await age(world, waits.job_id, "100 days")
    await age(world, ended.job_id, "100 days")
    await world.until_sql(f"SELECT count(*) = 0 FROM artifacts WHERE job_id = '{ended.job_id}'")
    assert len(await listed(world, waits.job_id)) == 6
    # The job ends in the queue: nothing waits any more.
    await revoke(world, waits, another_follows=False)
    await world.until_sql(f"SELECT count(*) = 0 FROM artifacts WHERE job_id = '{waits.job_id}'")


async def test_only_the_latest_attempt_can_be_waiting_for_another(world: World) -> None:
    first = (await new_attempt(world)).access
    await revoke(world, first, another_follows=True)
    second = (await new_attempt(world, job_id=first.job_id, attempt=2)).access
    await revoke(world, second, another_follows=False)
    assert await world.sql(f"SELECT awaits_next FROM attempts WHERE job_id = '{first.job_id}'") == [(False,), (False,)]

"""The client's own upload against a gateway that dies, and a client that dies."""

import asyncio
import itertools
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from stoker.client import RetryPolicy
from stoker.client.transfer import hash_file
from stoker.client.uploading import Upload
from stoker_shared.rpc.dataset_gateway import UploadOpened, UploadStatus
from tests.integration.dataset_gateway.conftest import World, jsonl, upload_id

SETTINGS = {"sweep_every": "PT0.5S", "write_lease": "PT3S", "upload_lease": "PT3S"}
PATIENT = RetryPolicy(give_up_after=timedelta(seconds=90))
SENDER = """
import sys
from pathlib import Path
from stoker.client import RetryPolicy
from stoker.client.transfer import hash_file
from stoker.client.uploading import Upload
Upload(hash_file(Path(sys.argv[1])), url=sys.argv[2], token=sys.argv[3], retry=RetryPolicy()).run()
"""


def written(folder: Path, mark: str) -> Path:
    """A file of some 60 MB."""
    file = folder / "data.jsonl"
    file.write_bytes(jsonl([{"text": f"{mark} {number} {'x' * 6000}"} for number in range(10_000)]))
    return file


async def until_some_came(world: World, opened: UploadOpened) -> None:
    """Wait until the store has some parts, but not all."""
    await world.until_sql(f"SELECT offset_bytes > 0 FROM uploads WHERE id = '{upload_id(opened)}'")


async def run(file: Path, opened: UploadOpened, *, sending: Callable[[int, int], None]) -> UploadStatus:
    """Upload as `stoker data add` does."""
    upload = Upload(hash_file(file), url=str(opened.upload_url), token=str(opened.upload_token), retry=PATIENT)
    return await asyncio.to_thread(upload.run, sending=sending)


async def test_a_gateway_that_is_killed_and_comes_back_is_gone_on_with(world: World, tmp_path: Path) -> None:
    file = written(tmp_path, "gateway")
    opened = await world.open_upload(file.read_bytes())
    told: list[int] = []
    uploading = asyncio.create_task(run(file, opened, sending=lambda done, _: told.append(done)))
    await until_some_came(world, opened)
    assert world.gateway.process is not None
    world.gateway.process.kill()
    await asyncio.to_thread(world.gateway.process.wait)
    await asyncio.to_thread(world.gateway.start, **SETTINGS)
    assert (await uploading).state == "stored"
    assert world.content(opened.dataset_version_id) == file.read_bytes()
    went_back_to = [after for before, after in itertools.pairwise(told) if after < before]
    assert all(offset > 0 for offset in went_back_to)


async def test_a_client_that_is_killed_goes_on_when_it_is_run_again(world: World, tmp_path: Path) -> None:
    file = written(tmp_path, "client")
    first = await world.open_upload(file.read_bytes())
    sender = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SENDER, str(file), str(first.upload_url), str(first.upload_token)
    )
    await until_some_came(world, first)
    sender.kill()
    await sender.wait()
    again = await world.open_upload(file.read_bytes())
    assert again.upload_url == first.upload_url
    told: list[int] = []
    assert (await run(file, again, sending=lambda done, _: told.append(done))).state == "stored"
    assert told[0] > 0
    assert world.content(first.dataset_version_id) == file.read_bytes()

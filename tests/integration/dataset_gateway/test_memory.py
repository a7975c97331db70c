"""A large upload, its check and a large download pass through a gateway whose memory stays flat."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Iterator

import psutil
import pytest

from stoker_shared.rpc.dataset_gateway import OPEN_UPLOAD, OpenUpload
from tests.integration.dataset_gateway.conftest import World

ROWS_PER_BLOCK = 1000
BLOCKS = 300
ALLOWED_GROWTH_BYTES = 120 * 2**20
"""Of 300 MB: two parts of 8 MiB with their copies, blocks of the check, the table of row hashes."""


def blocks() -> Iterator[bytes]:
    """300 MB of rows, a MB at a time, made as they are needed."""
    for block in range(BLOCKS):
        rows = (
            json.dumps({"prompt": f"{block} {row} {'p' * 400}", "completion": "c" * 540})
            for row in range(ROWS_PER_BLOCK)
        )
        yield ("\n".join(rows) + "\n").encode()


@pytest.mark.timeout(900)
async def test_memory_stays_flat_on_a_300_mb_upload_and_download(world: World) -> None:
    digest, size = hashlib.sha256(), 0
    for block in blocks():
        digest.update(block)
        size += len(block)
    assert size > 290_000_000
    process = psutil.Process(world.gateway.pid)
    await world.stored()
    before = process.memory_info().rss
    highest = before

    async def body() -> AsyncIterator[bytes]:
        nonlocal highest
        for block in blocks():
            yield block
            highest = max(highest, process.memory_info().rss)
            await asyncio.sleep(0)

    request = OpenUpload(
        owner=world.owner, name="big", filename="big.jsonl", size_bytes=size, sha256=digest.hexdigest()
    )
    opened = await world.peers.ask(OPEN_UPLOAD, request)
    assert (await world.patch(opened, body(), offset=0)).status_code == 204
    after_upload = highest
    while (status := (await world.tus("GET", opened)).json())["state"] == "checking":
        highest = max(highest, process.memory_info().rss)
        await asyncio.sleep(0.05)
    assert status["facts"]["statistics"]["rows"] == BLOCKS * ROWS_PER_BLOCK
    after_check = highest
    minted, _ = await world.mint(opened.dataset_version_id)
    received = hashlib.sha256()
    async with world.http.stream("GET", minted.download_url, timeout=240) as download:
        async for chunk in download.aiter_raw(2**20):
            received.update(chunk)
            highest = max(highest, process.memory_info().rss)
    assert received.hexdigest() == digest.hexdigest()
    figures = {"before": before, "upload": after_upload, "check": after_check, "download": highest}
    shown = ", ".join(f"{name} {figure >> 20} MiB" for name, figure in figures.items())
    print(shown)  # noqa: T201 - a measured figure, shown with -s
    assert highest - before < ALLOWED_GROWTH_BYTES, shown

"""The store or the gateway itself dies, tokens end while bytes flow, and what is expired is forgotten."""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Callable

import httpx
import pytest

from stoker.stack.standalone import RunningObjectStore
from stoker_shared.rpc.dataset_gateway import DESCRIBE, REVOKE, DescribeDataset, RevokeAttempt
from tests.integration.dataset_gateway.conftest import ROWS, World, jsonl

SETTINGS = {"sweep_every": "PT0.5S", "write_lease": "PT3S"}


def big_file() -> bytes:
    """Some 60 MB that do not compress into the buffers of a socket."""
    return jsonl([{"text": f"{number} {os.urandom(1000).hex()}"} for number in range(30_000)])


async def _fetch(world: World, url: str, *, into: bytearray, at_first_byte: Callable[[], None]) -> None:
    async with world.http.stream("GET", url) as response:
        async for chunk in response.aiter_raw(65_536):
            if not into:
                at_first_byte()
            into += chunk


async def test_a_download_that_the_store_breaks_off_is_seen_as_such_and_resumed(
    world: World, object_store_server: RunningObjectStore
) -> None:
    content = big_file()
    minted, _ = await world.mint(await world.stored(content))
    received = bytearray()
    with pytest.raises(httpx.TransportError):
        await _fetch(world, minted.download_url, into=received, at_first_byte=object_store_server.kill)
    assert 0 < len(received) < len(content)
    away = await world.http.get(minted.download_url)
    assert away.status_code == 503
    assert int(away.headers["retry-after"]) > 0
    object_store_server.start()
    headers = {"Range": f"bytes={len(received)}-", "If-Range": f'"{minted.sha256}"'}
    rest = await world.http.get(minted.download_url, headers=headers)
    assert rest.status_code == 206
    assert hashlib.sha256(bytes(received) + rest.content).hexdigest() == minted.sha256
    assert "Traceback" not in away.text


async def test_an_upload_while_the_store_is_away_is_put_off_and_works_later(
    world: World, object_store_server: RunningObjectStore
) -> None:
    content = jsonl(ROWS)
    opened = await world.open_upload(content)
    object_store_server.kill()
    response = await world.put(opened, content)
    assert response.status_code == 503
    assert int(response.headers["retry-after"]) > 0
    ready = (await world.http.get(f"{world.gateway.url}/readyz")).json()
    assert ready["checks"]["object_store"] is False
    question = DescribeDataset(owner=world.owner, dataset_version_id=opened.dataset_version_id)
    assert (await world.peers.ask(DESCRIBE, question)).state == "uploading"
    object_store_server.start()
    assert (await world.put(opened, content)).status_code == 201
    await world.until_sql("SELECT count(*) = 0 FROM object_writes")
    await world.only_object(f"datasets/{opened.dataset_version_id}/")


async def test_an_artifact_of_an_attempt_that_ends_while_it_comes_is_not_stored(world: World) -> None:
    _, access = await world.mint(await world.stored())
    has_begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield b"first "
        has_begun.set()
        await go_on.wait()
        yield b"second"

    headers = {
        "Authorization": f"Bearer {access.token}",
        "X-Content-SHA256": hashlib.sha256(b"first second").hexdigest(),
    }
    url = f"{world.gateway.url}/v1/jobs/{access.job_id}/artifacts/a.bin"
    sending = asyncio.create_task(world.http.put(url, content=slow(), headers=headers))
    await has_begun.wait()
    await world.until_sql("SELECT count(*) = 1 FROM object_writes")
    await world.peers.ask(REVOKE, RevokeAttempt(job_id=access.job_id, attempt=1))
    go_on.set()
    assert (await sending).status_code == 401
    await world.until_no_object(f"artifacts/{access.job_id}/")
    assert await world.sql(f"SELECT * FROM artifacts WHERE job_id = '{access.job_id}'") == []


async def test_a_mint_that_comes_after_the_revoke_is_refused(world: World) -> None:
    version = await world.stored()
    _, access = await world.mint(version)
    await world.peers.ask(REVOKE, RevokeAttempt(job_id=access.job_id, attempt=1))
    with pytest.raises(Exception, match="is over"):
        await world.mint(version, job_id=access.job_id)


async def test_expired_rows_are_forgotten_a_day_later_and_not_before(world: World) -> None:
    _, old = await world.mint(await world.stored())
    _, recent = await world.mint(await world.stored(jsonl([*ROWS, *ROWS])))
    unfinished = await world.open_upload(jsonl(ROWS[:9]))
    for table in ("job_tokens", "download_tokens"):
        for access, age in ((old, "25 hours"), (recent, "23 hours")):
            await world.sql(
                f"UPDATE {table} SET expires_at = now() - interval '{age}' WHERE job_id = '{access.job_id}'"
            )
    version = unfinished.dataset_version_id
    await world.sql(f"UPDATE uploads SET expires_at = now() - interval '25 h' WHERE dataset_version_id = '{version}'")
    await world.sql(f"UPDATE dataset_versions SET created_at = now() - interval '49 h' WHERE id = '{version}'")
    for table in ("job_tokens", "download_tokens"):
        await world.until_sql(f"SELECT count(*) = 0 FROM {table} WHERE job_id = '{old.job_id}'")
        assert len(await world.sql(f"SELECT 1 FROM {table} WHERE job_id = '{recent.job_id}'")) == 1
    await world.until_sql(f"SELECT count(*) = 0 FROM dataset_versions WHERE id = '{version}'")

"""Uploads that end badly leave nothing behind and can be made again."""

import asyncio
import gzip
import hashlib
import json
from collections.abc import AsyncIterator

import httpx
import pytest

from stoker_shared.errors import RemoteRefusal
from stoker_shared.rpc.dataset_gateway import (
    DESCRIBE,
    LIST,
    OPEN_UPLOAD,
    DescribeDataset,
    ListDatasets,
    OpenUpload,
)
from tests.integration.dataset_gateway.conftest import ROWS, World, jsonl, upload_id

SETTINGS = {
    "max_upload_bytes": "40000000",
    "idle_timeout": "PT2S",
    "sweep_every": "PT0.5S",
    "write_lease": "PT3S",
    "upload_lease": "PT3S",
}


async def state_of(world: World, version_id: str) -> str:
    """The state of a version."""
    facts = await world.peers.ask(DESCRIBE, DescribeDataset(owner=world.owner, dataset_version_id=version_id))
    return str(facts.state)


async def test_faulty_rows_reject_the_version_with_every_fault(world: World) -> None:
    rows = [json.dumps(row) for row in ROWS]
    rows[3] = '{"nothing": "known"}'
    rows[9] = "{broken"
    content = "\n".join(rows).encode()
    opened = await world.open_upload(content)
    response = await world.put(opened, content)
    assert response.status_code == 422
    problem = response.json()
    assert problem["code"] == "dataset_rejected"
    assert problem["facts"]["fault_counts"] == {"missing_column": 1, "invalid_json": 1}
    assert [fault["line"] for fault in problem["facts"]["faults"]] == [4, 10]
    assert "line 4" in problem["detail"]
    assert await state_of(world, opened.dataset_version_id) == "rejected"
    await world.until_no_object(f"datasets/{opened.dataset_version_id}/")
    listed = await world.peers.ask(LIST, ListDatasets(owner=world.owner))
    assert [entry.state for entry in listed.datasets] == ["rejected"]
    # The same request again, because its answer was lost: the same answer.
    assert (await world.put(opened, content)).json()["facts"] == problem["facts"]
    # Uploaded as new it is a version of its own.
    assert (await world.open_upload(content)).dataset_version_id != opened.dataset_version_id


async def test_other_bytes_than_announced_are_not_stored(world: World) -> None:
    content = jsonl(ROWS)
    opened = await world.open_upload(content)
    other = content.replace(b"answer 7", b"answer 8")
    response = await world.put(opened, other)
    assert (response.status_code, response.json()["code"]) == (422, "checksum_mismatch")
    shorter = await world.put(opened, content[:-20])
    assert (shorter.status_code, shorter.json()["code"]) == (422, "checksum_mismatch")

    async def longer() -> AsyncIterator[bytes]:
        yield content
        yield content

    assert (await world.put(opened, longer())).json()["code"] == "checksum_mismatch"
    await world.until_no_object(f"datasets/{opened.dataset_version_id}/")
    assert await state_of(world, opened.dataset_version_id) == "uploading"
    assert (await world.put(opened, content)).status_code == 201
    again = await world.put(opened, content)
    assert (again.status_code, again.json()["facts"]["state"]) == (409, "stored")


async def test_a_client_that_goes_away_keeps_what_came_and_may_begin_anew(world: World) -> None:
    content = jsonl([{"text": f"{number} {'x' * 2000}"} for number in range(12_000)])
    opened = await world.open_upload(content)

    async def broken() -> AsyncIterator[bytes]:
        # More than one part of a multipart upload, so that the store has something to forget.
        yield content[:18_000_000]
        raise ConnectionAbortedError

    with pytest.raises((httpx.TransportError, ConnectionAbortedError)):
        await world.put(opened, broken())
    await world.until_sql(f"SELECT held_by IS NULL FROM uploads WHERE id = '{upload_id(opened)}'")
    assert 16 * 2**20 <= await world.offset(opened) <= 18_000_000
    assert await state_of(world, opened.dataset_version_id) == "uploading"
    assert (await world.put(opened, content)).status_code == 201
    assert world.content(opened.dataset_version_id) == content
    await world.until_nothing_remains(opened)


async def test_a_client_that_falls_silent_is_given_up(world: World) -> None:
    content = jsonl(ROWS)
    opened = await world.open_upload(content)

    async def silent() -> AsyncIterator[bytes]:
        yield content[:100]
        await asyncio.Event().wait()

    stuck = asyncio.create_task(world.put(opened, silent()))
    holder = f"FROM uploads WHERE id = '{upload_id(opened)}'"
    await world.until_sql(f"SELECT held_by IS NOT NULL {holder}")
    await world.until_sql(f"SELECT held_by IS NULL {holder}")
    assert await world.offset(opened) == 100
    assert (await world.patch(opened, content[100:], offset=100)).status_code == 204
    assert (await world.verdict(opened))["state"] == "stored"
    stuck.cancel()


async def test_of_two_uploads_at_once_one_wins(world: World) -> None:
    content = jsonl(ROWS)
    opened = await world.open_upload(content)
    reopened = await world.open_upload(content)
    assert (reopened.dataset_version_id, reopened.upload_url) == (opened.dataset_version_id, opened.upload_url)
    assert reopened.upload_token != opened.upload_token
    go_on, has_begun = asyncio.Event(), asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield content[:100]
        has_begun.set()
        await go_on.wait()
        yield content[100:]

    first = asyncio.create_task(world.put(opened, slow()))
    await has_begun.wait()
    await world.until_sql(f"SELECT held_by IS NOT NULL FROM uploads WHERE id = '{upload_id(opened)}'")
    for other in (opened, reopened):
        for second in (await world.put(other, content), await world.patch(other, content, offset=0)):
            assert (second.status_code, second.json()["code"]) == (423, "upload_in_progress")
    go_on.set()
    assert (await first).status_code == 201
    await world.only_object(f"datasets/{opened.dataset_version_id}/")


async def test_a_wrong_or_expired_upload_token_is_refused_before_the_bytes(world: World) -> None:
    content = jsonl(ROWS)
    opened = await world.open_upload(content)
    wrong = await world.put(opened.model_copy(update={"upload_token": "x" * 43}), content)
    assert (wrong.status_code, wrong.json()["code"]) == (401, "token_refused")
    without = await world.http.put(str(opened.upload_url), content=content)
    assert without.status_code == 401
    await world.sql(f"UPDATE uploads SET expires_at = now() WHERE dataset_version_id = '{opened.dataset_version_id}'")
    gone = await world.put(opened, content)
    assert (gone.status_code, gone.json()["code"]) == (410, "upload_gone")
    assert "POST /v1/datasets" in gone.json()["next_step"]
    unknown = opened.model_copy(update={"upload_url": f"{world.gateway.url}/v1/uploads/upload-0000000000000000"})
    assert (await world.put(unknown, content)).status_code == 404


async def test_too_large_is_refused_when_announced_and_when_sent(world: World) -> None:
    request = OpenUpload(owner=world.owner, name="n", filename="a.jsonl", size_bytes=40_000_001, sha256="0" * 64)
    with pytest.raises(RemoteRefusal) as refused:
        await world.peers.ask(OPEN_UPLOAD, request)
    assert refused.value.remote_status == 413
    opened = await world.open_upload(jsonl(ROWS))
    announced = await world.put(opened, b"x" * 40_000_001)
    assert announced.status_code == 413

    async def unannounced() -> AsyncIterator[bytes]:
        for _ in range(41):
            yield b"x" * 1_000_000

    assert (await world.put(opened, unannounced())).json()["code"] == "checksum_mismatch"
    assert (await world.patch(opened, unannounced(), offset=0)).status_code == 413
    await world.until_no_object(f"datasets/{opened.dataset_version_id}/")


@pytest.mark.parametrize("filename", ["data.xlsx", "data.txt", "data.pickle", "data", "data.jsonl.bz2"])
async def test_other_formats_are_refused_before_the_upload_with_what_to_change(world: World, filename: str) -> None:
    with pytest.raises(RemoteRefusal) as refused:
        await world.open_upload(jsonl(ROWS), filename=filename)
    assert refused.value.remote_code == "format_unsupported"
    assert "not a kind of file that is taken" in refused.value.detail
    assert "JSON Lines" in refused.value.detail


@pytest.mark.parametrize("filename", ["../data.jsonl", "a/b.jsonl", "..", "a\\b.jsonl", "a\n.jsonl"])
async def test_a_filename_that_is_a_path_is_refused(world: World, filename: str) -> None:
    with pytest.raises(RemoteRefusal) as refused:
        await world.open_upload(jsonl(ROWS), filename=filename)
    assert refused.value.remote_status == 422


async def test_a_truncated_gzip_file_is_rejected(world: World) -> None:
    content = gzip.compress(jsonl(ROWS))[:-30]
    opened = await world.open_upload(content, filename="data.jsonl.gz")
    response = await world.put(opened, content)
    assert response.json()["facts"]["fault_counts"] == {"broken_gzip": 1}


async def test_text_that_postgres_cannot_hold_does_not_break_the_answer(world: World) -> None:
    content = b'{"text": "a\\u0000b"}\n{"text": 1, "a\\u0000": 2}\n{"te\\ud800xt": ""}\n\x00\n'
    opened = await world.open_upload(content)
    response = await world.put(opened, content)
    assert response.status_code == 422
    assert response.json()["facts"]["faults_total"] == 3


async def test_the_checksum_that_is_stored_is_that_of_the_object(world: World) -> None:
    content = jsonl([{"text": f"{number} {'y' * 1000}"} for number in range(20_000)])
    version = await world.stored(content)
    key = await world.only_object(f"datasets/{version}/")
    bucket = world.servers.bucket
    stored = bucket.client().get_object(bucket.bucket, key).data
    assert hashlib.sha256(stored).hexdigest() == hashlib.sha256(content).hexdigest()

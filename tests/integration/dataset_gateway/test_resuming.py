"""Uploads that break anywhere, in any way, and are gone on with: the bytes are equal at the end."""

import asyncio
import os
import random
import signal
from collections.abc import AsyncIterator

import httpx
import pytest

from stoker.stack.standalone import RunningObjectStore
from stoker_shared.rpc.dataset_gateway import LIST, ListDatasets, UploadOpened
from tests.integration.dataset_gateway.conftest import ROWS, World, jsonl, upload_id

SETTINGS = {"sweep_every": "PT0.5S", "write_lease": "PT3S", "upload_lease": "PT3S", "idle_timeout": "PT5S"}
PART_BYTES = 8 * 2**20


def rows_of(megabytes: int, *, seed: int) -> bytes:
    """A file that does not compress into the buffers of a socket."""
    source = random.Random(seed)
    return jsonl([{"text": f"{number} {source.randbytes(1000).hex()}"} for number in range(megabytes * 500)])


async def cut(content: bytes, length: int) -> AsyncIterator[bytes]:
    """Some bytes, then the connection breaks."""
    for start in range(0, length, 100_000):
        yield content[start : min(start + 100_000, length)]
    raise ConnectionAbortedError


async def settled_offset(world: World, opened: UploadOpened) -> int:
    """Where the upload goes on, once the gateway has noticed that its sender is gone."""
    before = -1
    while True:
        await until_free(world, opened)
        offset = await world.offset(opened)
        if offset == before:
            return offset
        before = offset
        await asyncio.sleep(0.1)


async def finish(world: World, opened: UploadOpened, content: bytes) -> None:
    """Send the rest as a client does that was told to wait."""
    while True:
        offset = await world.offset(opened)
        answer = await world.patch(opened, content[offset:], offset=offset)
        if answer.status_code == 204:
            return
        assert answer.status_code in {409, 423}, answer.text
        await asyncio.sleep(0.1)


async def until_free(world: World, opened: UploadOpened) -> None:
    """Wait until nobody holds the upload."""
    identifier = upload_id(opened)
    await world.until_sql(f"SELECT held_until IS NULL OR held_until < now() FROM uploads WHERE id = '{identifier}'")


@pytest.mark.parametrize("seed", range(3))
async def test_broken_at_random_points_the_bytes_are_equal_at_the_end(world: World, seed: int) -> None:
    content = rows_of(18, seed=seed)
    source = random.Random(seed)
    opened = await world.open_upload(content)
    offset, sent = 0, 0
    for _ in range(5):
        rest = content[offset:]
        length = source.choice([1, source.randrange(len(rest)), min(PART_BYTES, len(rest) - 1)])
        with pytest.raises((httpx.TransportError, ConnectionAbortedError)):
            await world.patch(opened, cut(rest, length), offset=offset)
        sent += length
        before, offset = offset, await settled_offset(world, opened)
        assert before <= offset <= before + length
    await finish(world, opened, content)
    assert (await world.verdict(opened))["state"] == "stored"
    assert world.content(opened.dataset_version_id) == content
    # Pieces that end inside a part lie in an object of their own meanwhile; none stays.
    await world.until_nothing_remains(opened)
    await world.until_sql("SELECT count(*) = 0 FROM object_writes")


@pytest.mark.parametrize("piece", [1_000_000, PART_BYTES, PART_BYTES + 1, 3_333_333])
async def test_pieces_of_any_size_become_the_file(world: World, piece: int) -> None:
    content = rows_of(18, seed=piece)
    opened = await world.open_upload(content)
    for offset in range(0, len(content), piece):
        answer = await world.patch(opened, content[offset : offset + piece], offset=offset)
        assert answer.status_code == 204
        assert int(answer.headers["upload-offset"]) == min(offset + piece, len(content))
    assert (await world.verdict(opened))["state"] == "stored"
    assert world.content(opened.dataset_version_id) == content
    await world.until_nothing_remains(opened)


async def test_a_gateway_killed_in_an_upload_keeps_whole_parts_and_goes_on(world: World) -> None:
    content = rows_of(35, seed=1)
    opened = await world.open_upload(content)

    async def interrupted() -> AsyncIterator[bytes]:
        yield content[:30_000_000]
        await world.until_sql(f"SELECT offset_bytes >= {3 * PART_BYTES} FROM uploads WHERE state = 'receiving'")
        world.gateway.stop(signal.SIGKILL)
        yield content[30_000_000:]

    with pytest.raises(httpx.TransportError):
        await world.patch(opened, interrupted(), offset=0)
    world.gateway.start(**SETTINGS)
    assert await world.offset(opened) == 3 * PART_BYTES
    assert len(world.remains(opened)) == 1
    assert (await world.peers.ask(LIST, ListDatasets(owner=world.owner))).datasets == []
    # The killed process holds the upload until its lease ends.
    await finish(world, opened, content)
    assert (await world.verdict(opened))["state"] == "stored"
    assert world.content(opened.dataset_version_id) == content
    await world.until_nothing_remains(opened)


async def test_a_store_that_dies_in_an_upload_is_gone_on_with_when_it_is_back(
    world: World, object_store_server: RunningObjectStore
) -> None:
    content = rows_of(40, seed=2)
    opened = await world.open_upload(content)

    async def body() -> AsyncIterator[bytes]:
        yield content[:20_000_000]
        await world.until_sql(f"SELECT offset_bytes >= {2 * PART_BYTES} FROM uploads WHERE state = 'receiving'")
        object_store_server.kill()
        yield content[20_000_000:]

    failed = await world.patch(opened, body(), offset=0)
    assert (failed.status_code, failed.json()["code"]) == (503, "temporarily_unavailable")
    assert "Traceback" not in failed.text
    offset = await world.offset(opened)
    assert offset == 2 * PART_BYTES
    object_store_server.start()
    assert (await world.patch(opened, content[offset:], offset=offset)).status_code == 204
    assert (await world.verdict(opened))["state"] == "stored"
    assert world.content(opened.dataset_version_id) == content


async def test_the_same_file_announced_again_is_the_same_upload_and_both_tokens_are_good(world: World) -> None:
    content = rows_of(10, seed=3)
    first = await world.open_upload(content)
    assert (await world.patch(first, content[:9_000_000], offset=0)).status_code == 204
    second = await world.open_upload(content)
    assert second.upload_url == first.upload_url
    assert second.upload_token != first.upload_token
    assert await world.offset(second) == 9_000_000
    assert (await world.patch(second, content[9_000_000:], offset=9_000_000)).status_code == 204
    assert (await world.verdict(first))["state"] == "stored"
    assert (await world.open_upload(content)).already_stored


async def test_the_same_content_under_two_names_at_once_is_one_version(world: World) -> None:
    content = rows_of(20, seed=4)
    uploads = [await world.open_upload(content, name=name) for name in ("one", "two", "three")]
    assert len({opened.upload_url for opened in uploads}) == 3
    (version,) = {opened.dataset_version_id for opened in uploads}
    answers = await asyncio.gather(*(world.patch(opened, content, offset=0) for opened in uploads))
    assert [answer.status_code for answer in answers] == [204] * 3
    verdicts = [await world.verdict(opened) for opened in uploads]
    assert [verdict["state"] for verdict in verdicts] == ["stored"] * 3
    assert {verdict["facts"]["dataset_version_id"] for verdict in verdicts} == {version}
    # The others' objects are deleted after the verdict is known.
    await world.only_object(f"datasets/{version}/")
    assert world.content(version) == content
    told = await world.sql(f"SELECT count(*) FROM outbox WHERE subject LIKE 'evt.dataset.{version}.%'")
    assert told == [(1,)]


async def test_of_two_senders_at_once_one_is_told_to_wait_and_nothing_is_mixed(world: World) -> None:
    content = rows_of(30, seed=5)
    opened = await world.open_upload(content)
    answers = await asyncio.gather(*(world.patch(opened, content, offset=0) for _ in range(4)))
    codes = sorted(answer.status_code for answer in answers)
    assert codes[0] == 204
    assert set(codes[1:]) <= {409, 423}
    assert (await world.verdict(opened))["state"] == "stored"
    assert world.content(opened.dataset_version_id) == content


async def test_a_frozen_sender_that_wakes_after_its_lease_changes_nothing(world: World) -> None:
    """The gateway is stopped in mid-upload, its lease ends, and another sender has the upload when it wakes."""
    content = rows_of(30, seed=6)
    opened = await world.open_upload(content)
    go_on = asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield content[: PART_BYTES + 2_000_000]
        await go_on.wait()
        yield content[PART_BYTES + 2_000_000 :]

    sending = asyncio.create_task(world.patch(opened, slow(), offset=0))
    identifier = upload_id(opened)
    await world.until_sql(f"SELECT offset_bytes = {PART_BYTES} FROM uploads WHERE id = '{identifier}'")
    # What another replica would write once the lease had run out.
    await world.sql(f"UPDATE uploads SET held_by = 'holder-00000000000000ff' WHERE id = '{identifier}'")
    go_on.set()
    assert (await sending).status_code == 423
    await world.sql(f"UPDATE uploads SET held_by = NULL, held_until = NULL WHERE id = '{identifier}'")
    assert await world.offset(opened) == PART_BYTES
    assert (await world.patch(opened, content[PART_BYTES:], offset=PART_BYTES)).status_code == 204
    assert (await world.verdict(opened))["state"] == "stored"
    assert world.content(opened.dataset_version_id) == content


async def test_an_upload_that_has_run_out_is_swept_with_its_parts(world: World) -> None:
    content = os.urandom(PART_BYTES + 1000)
    opened = await world.open_upload(content)
    assert (await world.patch(opened, content[:-10], offset=0)).status_code == 204
    assert len(world.remains(opened)) == 2
    identifier = upload_id(opened)
    await world.sql(f"UPDATE uploads SET expires_at = now() WHERE id = '{identifier}'")
    await world.until(lambda: not world.remains(opened))
    await world.until_sql("SELECT count(*) = 0 FROM object_writes")
    assert await world.sql(f"SELECT state, offset_bytes FROM uploads WHERE id = '{identifier}'") == [("expired", 0)]
    assert await world.sql(f"SELECT * FROM upload_parts WHERE upload_id = '{identifier}'") == []
    for method in ("HEAD", "GET", "DELETE"):
        assert (await world.tus(method, opened)).status_code == 410
    again = await world.open_upload(content)
    assert again.upload_url != opened.upload_url
    assert await world.offset(again) == 0


async def test_every_byte_that_comes_puts_the_end_off(world: World) -> None:
    content = jsonl(ROWS)
    opened = await world.open_upload(content)
    identifier = upload_id(opened)
    await world.sql(f"UPDATE uploads SET expires_at = now() + interval '1 minute' WHERE id = '{identifier}'")
    assert (await world.patch(opened, content[:10], offset=0)).status_code == 204
    await world.until_sql(f"SELECT expires_at > now() + interval '23 hours' FROM uploads WHERE id = '{identifier}'")


async def test_a_tail_that_the_store_has_lost_is_asked_for_again(world: World) -> None:
    content = rows_of(10, seed=7)
    opened = await world.open_upload(content)
    assert (await world.patch(opened, content[:9_000_000], offset=0)).status_code == 204
    bucket = world.servers.bucket
    (tail,) = world.keys(f"uploads/{upload_id(opened)}/")
    bucket.client().remove_object(bucket.bucket, tail)
    refused = await world.patch(opened, content[9_000_000:], offset=9_000_000)
    assert (refused.status_code, refused.headers["upload-offset"]) == (409, str(PART_BYTES))
    assert (await world.patch(opened, content[PART_BYTES:], offset=PART_BYTES)).status_code == 204
    assert (await world.verdict(opened))["state"] == "stored"
    assert world.content(opened.dataset_version_id) == content

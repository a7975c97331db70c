"""What HTTP promises about a file: ranges, conditions, packing; and what becomes of a client that goes away."""

import asyncio
import email.message
import email.policy
import gzip
import hashlib
import os
import socket
from email.parser import BytesParser
from urllib.parse import urlsplit

import httpx
import psutil
import pytest

from stoker_shared.rpc.dataset_gateway import REVOKE, RevokeAttempt
from tests.integration.dataset_gateway.conftest import ROWS, JobAccess, World, jsonl

SETTINGS = {
    "token_requests_per_minute": "60",
    "token_burst": "12",
    "token_downloads_at_once": "2",
    "free_tries": "1000",
}
BIG_ROWS = 30_000


def big_file() -> bytes:
    """Some 60 MB that do not fit into the buffers of sockets."""
    return jsonl([{"text": f"{number} {os.urandom(1000).hex()}"} for number in range(BIG_ROWS)])


async def renewed(world: World, access: JobAccess, *, job_id: str | None = None) -> httpx.Response:
    """Ask for another address with the job token."""
    response = await world.http.post(
        f"{world.gateway.url}/v1/jobs/{job_id or access.job_id}/downloads",
        headers={"Authorization": f"Bearer {access.token}"},
    )
    if response.status_code == 201:
        world.gateway.secrets.append(response.json()["download_url"].partition("token=")[2])
    return response


def parts_of(response: httpx.Response) -> list[email.message.Message]:
    """The parts of multipart/byteranges, by the standard library's own parser."""
    head = f"Content-Type: {response.headers['content-type']}\r\n\r\n".encode()
    parsed = BytesParser(policy=email.policy.HTTP).parsebytes(head + response.content)
    assert parsed.is_multipart()
    return list(parsed.iter_parts())  # type: ignore[attr-defined]


async def test_several_ranges_come_as_one_multipart_answer(world: World) -> None:
    content = jsonl(ROWS * 100)
    minted, _ = await world.mint(await world.stored(content))
    response = await world.http.get(minted.download_url, headers={"Range": "bytes=10-19, 1000-1999, -5, 9999999-"})
    assert response.status_code == 206
    assert int(response.headers["content-length"]) == len(response.content)
    parts = parts_of(response)
    assert [part["Content-Range"] for part in parts] == [
        f"bytes {first}-{last}/{len(content)}"
        for first, last in ((10, 19), (1000, 1999), (len(content) - 5, len(content) - 1))
    ]
    bodies = [part.get_payload(decode=True) for part in parts]
    assert bodies == [content[10:20], content[1000:2000], content[-5:]]
    joined = await world.http.get(minted.download_url, headers={"Range": "bytes=0-9,5-30"})
    assert (joined.headers["content-range"], joined.content) == (f"bytes 0-30/{len(content)}", content[:31])
    again = await world.http.get(minted.download_url)  # the same connection still works
    assert again.content == content
    counted = f"bytes_served = {1015 + 31 + len(content)} AND use_count = 3"
    await world.until_sql(f"SELECT {counted} FROM download_tokens WHERE sha256 = '{minted.sha256}'")


async def test_conditions_spare_bytes_and_a_resume_by_date_or_etag_fits_the_file(world: World) -> None:
    content = jsonl([{"prompt": "by date", "completion": "c"}, *ROWS])
    minted, _ = await world.mint(await world.stored(content))
    whole = await world.http.get(minted.download_url)
    etag, modified = whole.headers["etag"], whole.headers["last-modified"]
    same = await world.http.get(minted.download_url, headers={"If-None-Match": etag})
    assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", etag)
    assert same.headers["cache-control"] == "no-store"
    since = await world.http.head(minted.download_url, headers={"If-Modified-Since": modified})
    assert since.status_code == 304
    other = await world.http.get(minted.download_url, headers={"If-Match": '"another"'})
    assert (other.status_code, other.json()["code"]) == (412, "precondition_failed")
    for if_range, status in ((modified, 206), (etag, 206), ("Thu, 01 Jan 2026 00:00:00 GMT", 200), (f"W/{etag}", 200)):
        part = await world.http.get(minted.download_url, headers={"Range": "bytes=5-", "If-Range": if_range})
        assert (part.status_code, part.content) == (status, content[5:] if status == 206 else content)


async def test_text_is_packed_for_who_asks_and_nothing_is_packed_twice(world: World) -> None:
    content = jsonl([{"prompt": "packed on the way", "completion": "c"}, *ROWS * 50])
    minted, _ = await world.mint(await world.stored(content))
    asking = {"Accept-Encoding": "gzip"}
    async with world.http.stream("GET", minted.download_url, headers=asking) as response:
        wire = b"".join([chunk async for chunk in response.aiter_raw()])
    assert response.headers["content-encoding"] == "gzip"
    assert response.headers["etag"] == f'W/"{minted.sha256}-gzip"'
    assert response.headers["vary"] == "Accept-Encoding"
    assert "accept-ranges" not in response.headers
    assert gzip.decompress(wire) == content
    assert len(wire) < len(content) / 3
    head = await world.http.head(minted.download_url, headers=asking)
    assert head.headers["etag"] == response.headers["etag"]
    part = await world.http.get(minted.download_url, headers={**asking, "Range": "bytes=0-9"})
    assert (part.status_code, part.content, part.headers["etag"]) == (206, content[:10], f'"{minted.sha256}"')
    packed = gzip.compress(content)
    twice, _ = await world.mint(await world.stored(packed, filename="data.jsonl.gz"))
    plain = await world.http.get(twice.download_url, headers=asking)
    assert "content-encoding" not in plain.headers
    assert plain.content == packed


async def test_a_client_that_goes_away_frees_its_slot_its_connection_and_its_place_at_the_store(world: World) -> None:
    content = big_file()
    minted, _ = await world.mint(await world.stored(content))
    gateway = psutil.Process(world.gateway.pid)
    store_port = int(world.servers.bucket.endpoint.rpartition(":")[2])

    def to_store() -> int:
        found = gateway.net_connections("tcp")
        return sum(
            1 for entry in found if entry.raddr and entry.raddr.port == store_port and entry.status != "CLOSE_WAIT"
        )

    descriptors, threads, idle = gateway.num_fds(), gateway.num_threads(), to_store()
    clients = [_slow_client(minted.download_url) for _ in range(2)]
    received = sum([len(client.recv(65_536)) for client in clients])
    third = await world.http.get(minted.download_url)
    assert (third.status_code, third.json()["code"]) == (429, "too_many_requests")
    assert int(third.headers["retry-after"]) >= 1
    assert to_store() == idle + 2
    for client in clients:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
        client.close()
    await world.until(lambda: to_store() <= idle and gateway.num_fds() <= descriptors + 1)
    assert gateway.num_threads() <= threads + 2
    assert (await world.http.get(minted.download_url)).content == content
    counted = f"use_count = 3 AND bytes_served BETWEEN {received + len(content)} AND {3 * len(content)}"
    await world.until_sql(f"SELECT {counted} FROM download_tokens WHERE sha256 = '{minted.sha256}'")
    assert "Traceback" not in world.gateway.log()


def _slow_client(url: str) -> socket.socket:
    parts = urlsplit(url)
    client = socket.create_connection((parts.hostname or "", parts.port or 0))
    client.sendall(f"GET {parts.path}?{parts.query} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    return client


async def test_a_slow_client_holds_the_store_back_and_not_the_memory(world: World) -> None:
    content = big_file()
    minted, _ = await world.mint(await world.stored(content))
    process = psutil.Process(world.gateway.pid)
    before = process.memory_info().rss
    client = await asyncio.to_thread(_slow_client, minted.download_url)
    received = hashlib.sha256()
    head, _, rest = (await asyncio.to_thread(client.recv, 65_536)).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200")
    sent = f"SELECT bytes_served < {len(content)} AND bytes_served > 0"
    await world.until_sql(f"{sent} FROM download_tokens WHERE sha256 = '{minted.sha256}'")
    assert process.memory_info().rss - before < 30 * 2**20
    received.update(rest)
    count = len(rest)
    while count < len(content):
        block = await asyncio.to_thread(client.recv, 2**20)
        assert block
        received.update(block)
        count += len(block)
    client.close()
    assert received.hexdigest() == minted.sha256


async def test_a_token_that_is_used_too_often_has_to_wait(world: World) -> None:
    minted, _ = await world.mint(await world.stored())
    answers = [await world.http.head(minted.download_url) for _ in range(14)]
    assert [answer.status_code for answer in answers[:12]] == [200] * 12
    assert answers[-1].status_code == 429
    assert int(answers[-1].headers["retry-after"]) >= 1


async def test_a_job_token_renews_the_address_of_its_own_dataset_until_the_attempt_ends(world: World) -> None:
    content = jsonl([{"prompt": "renewed", "completion": "c"}, *ROWS])
    version = await world.stored(content)
    await world.stored()  # another that it must not lead to
    minted, access = await world.mint(version)
    _, stranger = await world.mint(version)
    await world.sql(f"UPDATE download_tokens SET expires_at = now() WHERE job_id = '{access.job_id}'")
    assert (await world.http.get(minted.download_url)).status_code == 401
    answer = await renewed(world, access)
    assert answer.status_code == 201
    assert answer.headers["cache-control"] == "no-store"
    facts = answer.json()
    assert (facts["sha256"], facts["size_bytes"], facts["filename"]) == (minted.sha256, len(content), "data.jsonl")
    resume = {"Range": "bytes=7-", "If-Range": f'"{minted.sha256}"'}
    rest = await world.http.get(facts["download_url"], headers=resume)
    assert (rest.status_code, rest.content) == (206, content[7:])
    assert (await renewed(world, stranger, job_id=access.job_id)).status_code == 403
    await world.peers.ask(REVOKE, RevokeAttempt(job_id=access.job_id, attempt=1))
    assert (await renewed(world, access)).status_code == 401
    assert (await world.http.get(facts["download_url"])).status_code == 401


@pytest.mark.parametrize("filename", ['a"; filename="b.jsonl', "größe 数据.jsonl"])
async def test_no_name_of_a_file_breaks_out_of_its_header(world: World, filename: str) -> None:
    content = jsonl([{"prompt": filename, "completion": "c"}, *ROWS])
    minted, _ = await world.mint(await world.stored(content, filename=filename))
    response = await world.http.get(minted.download_url)
    assert response.content == content
    assert "set-cookie" not in response.headers
    assert response.headers["content-disposition"].startswith('attachment; filename="')
    assert "filename*=UTF-8''" in response.headers["content-disposition"]

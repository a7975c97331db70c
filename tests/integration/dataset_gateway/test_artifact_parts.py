"""Large artifacts come in parts: in any order, again, across outages, and are listed only when they are whole."""

import asyncio
import signal
from collections.abc import AsyncIterator

import httpx

from stoker_shared.identifiers import new_identifier
from stoker_shared.rpc.dataset_gateway import (
    LIST_ARTIFACTS,
    OPEN_ARTIFACT,
    REVOKE,
    ListArtifacts,
    OpenArtifact,
    RevokeAttempt,
)
from tests.integration.dataset_gateway.conftest import World
from tests.integration.dataset_gateway.parts import PART, PartsClient, content_of, new_attempt, sha256, unfinished

SETTINGS = {"sweep_every": "PT0.5S", "write_lease": "PT3S", "max_job_bytes": str(60_000_000)}


async def listed(world: World, client: PartsClient) -> list[str]:
    found = await world.peers.ask(LIST_ARTIFACTS, ListArtifacts(owner=world.owner, job_id=client.access.job_id))
    return [entry.name for entry in found.artifacts]


async def fetched(world: World, artifact_id: str) -> bytes:
    opened = await world.peers.ask(OPEN_ARTIFACT, OpenArtifact(owner=world.owner, artifact_id=artifact_id))
    world.gateway.secrets.append(opened.download_url.partition("token=")[2])
    return (await world.http.get(opened.download_url)).content


async def test_parts_in_any_order_at_once_and_again_become_one_artifact(world: World) -> None:
    client, content = await new_attempt(world), content_of(4)
    begun = await client.begin("merged/model.safetensors", content)
    assert (begun["part_bytes"], begun["part_count"], begun["parts_stored"]) == (PART, 4, [])
    upload = begun["upload_id"]
    answers = await asyncio.gather(*(client.put(upload, number, content) for number in (4, 2, 3, 2)))
    assert [answer.status_code for answer in answers] == [200] * 4
    assert await listed(world, client) == []
    missing = await client.complete(upload)
    assert (missing.status_code, missing.json()["code"], missing.json()["parts"]) == (409, "parts_missing", [1])
    assert (await client.put(upload, 1, content)).status_code == 200
    stored = await client.complete(upload)
    assert stored.status_code == 201
    assert (stored.json()["sha256"], stored.json()["size_bytes"]) == (sha256(content), len(content))
    assert await listed(world, client) == ["merged/model.safetensors"]
    assert await fetched(world, stored.json()["artifact_id"]) == content
    assert unfinished(client) == 0
    assert await world.sql(f"SELECT 1 FROM artifact_parts WHERE upload_id = '{upload}'") == []


async def test_asking_again_after_a_lost_answer_tells_the_same(world: World) -> None:
    client, content = await new_attempt(world), content_of(2)
    begun = await client.begin("a.bin", content)
    for number in (1, 2):
        await client.put(begun["upload_id"], number, content)
    first, second = await asyncio.gather(*(client.complete(begun["upload_id"]) for _ in range(2)))
    assert {first.status_code, second.status_code} <= {200, 201}
    third = await client.complete(begun["upload_id"])
    assert third.status_code == 200
    assert first.json() == second.json() == third.json()
    again = await client.begin("a.bin", content)
    assert (again["upload_id"], again["artifact"]) == (None, third.json())
    await world.only_object(f"artifacts/{client.access.job_id}/")


async def test_beginning_again_goes_on_with_the_same_upload(world: World) -> None:
    client, content = await new_attempt(world), content_of(3)
    both = await asyncio.gather(*(client.begin("a.bin", content) for _ in range(2)))
    assert both[0]["upload_id"] == both[1]["upload_id"]
    await client.put(both[0]["upload_id"], 2, content)
    again = await client.begin("a.bin", content)
    assert (again["upload_id"], again["parts_stored"]) == (both[0]["upload_id"], [2])
    await world.until(lambda: unfinished(client) == 1)


async def test_other_content_under_the_name_ends_the_upload_under_way(world: World) -> None:
    client, first, second = await new_attempt(world), content_of(2), content_of(2)
    begun = await client.begin("a.bin", first)
    await client.put(begun["upload_id"], 1, first)
    await client.store("a.bin", second)
    late = await client.put(begun["upload_id"], 2, first)
    assert (late.status_code, late.json()["code"]) == (404, "upload_unknown")
    whole = await client.store("a.bin", first)
    assert await listed(world, client) == ["a.bin"]
    assert await fetched(world, whole["artifact_id"]) == first
    await world.only_object(f"artifacts/{client.access.job_id}/")


async def test_what_does_not_fit_is_refused_with_the_reason(world: World) -> None:
    client, content = await new_attempt(world), content_of(2)
    upload = (await client.begin("a.bin", content))["upload_id"]
    outside = await client.put_bytes(upload, 3, b"x")
    assert (outside.status_code, outside.json()["errors"][0]["field"]) == (422, "number")
    short = await client.put_bytes(upload, 1, b"x")
    assert (short.status_code, short.json()["errors"][0]["field"]) == (422, "Content-Length")
    damaged = await client.put(upload, 2, content, announced="0" * 64)
    assert (damaged.status_code, damaged.json()["code"]) == (422, "checksum_mismatch")
    assert (await client.begin("a.bin", content))["parts_stored"] == []
    assert (await client.put("parts-0000000000000000", 1, content)).status_code == 404
    for name in ("../up", "uploads/a", ""):
        assert (await client.ask_to_begin(name, content)).status_code == 422
    assert (await client.ask_to_begin("b.bin", content, size_bytes=0)).status_code == 422
    assert (await client.ask_to_begin("b.bin", content, size_bytes=10**12)).status_code == 413
    other = PartsClient(world, (await new_attempt(world)).access)
    other.url = client.url
    assert (await other.put(upload, 1, content)).status_code == 403
    reserved = await world.put_artifact(client.access, "uploads/x", b"x")
    assert (reserved.status_code, reserved.json()["errors"][0]["field"]) == (422, "name")


async def test_a_whole_that_differs_from_what_was_announced_is_not_stored(world: World) -> None:
    client, content = await new_attempt(world), content_of(2)
    upload = (await client.begin("a.bin", content, sha256="1" * 64))["upload_id"]
    for number in (1, 2):
        assert (await client.put(upload, number, content)).status_code == 200
    answer = await client.complete(upload)
    assert (answer.status_code, answer.json()["code"], answer.json()["parts"]) == (422, "checksum_mismatch", [])
    assert (await client.complete(upload)).status_code == 404
    assert await listed(world, client) == []
    await world.until_no_object(f"artifacts/{client.access.job_id}/")


async def test_a_part_that_changed_in_the_store_is_named(world: World) -> None:
    client, content = await new_attempt(world), content_of(3)
    upload = (await client.begin("a.bin", content))["upload_id"]
    for number in (1, 2, 3):
        await client.put(upload, number, content)
    bucket = world.servers.bucket
    row = f"FROM artifact_uploads WHERE id = '{upload}'"
    ((key, store_upload),) = await world.sql(f"SELECT object_key, store_upload {row}")
    rotten = b"?" + content[PART + 1 : 2 * PART]
    etag = bucket.client()._upload_part(bucket.bucket, key, rotten, None, store_upload, 2)
    await world.sql(f"UPDATE artifact_parts SET etag = '{etag}' WHERE upload_id = '{upload}' AND number = 2")
    answer = await client.complete(upload)
    assert (answer.status_code, answer.json()["parts"]) == (422, [2])
    assert "2" in answer.json()["detail"]
    await world.until_no_object(f"artifacts/{client.access.job_id}/")


async def test_a_gateway_killed_in_a_part_loses_that_part_alone(world: World) -> None:
    client, content = await new_attempt(world), content_of(3)
    upload = (await client.begin("a.bin", content))["upload_id"]
    assert (await client.put(upload, 3, content)).status_code == 200

    async def broken() -> AsyncIterator[bytes]:
        yield content[: PART // 2]
        world.gateway.stop(signal.SIGKILL)
        yield content[PART // 2 : PART]

    with_length = {"Content-Length": str(PART)}
    try:
        await client.put_bytes(upload, 1, broken(), announced=sha256(content[:PART]), **with_length)
    except httpx.TransportError:
        pass
    else:
        raise AssertionError("the gateway answered after its death")
    world.gateway.start(**SETTINGS)
    again = await client.begin("a.bin", content)
    assert (again["upload_id"], again["parts_stored"]) == (upload, [3])
    for number in (1, 2):
        assert (await client.put(upload, number, content)).status_code == 200
    assert (await client.complete(upload)).status_code == 201
    assert unfinished(client) == 0


async def test_a_check_whose_process_died_is_taken_over(world: World) -> None:
    client, content = await new_attempt(world), content_of(2)
    upload = (await client.begin("a.bin", content))["upload_id"]
    for number in (1, 2):
        await client.put(upload, number, content)
    bucket, row = world.servers.bucket, f"WHERE id = '{upload}'"
    ((key, store_upload),) = await world.sql(f"SELECT object_key, store_upload FROM artifact_uploads {row}")
    parts = await world.sql(f"SELECT number, etag FROM artifact_parts WHERE upload_id = '{upload}' ORDER BY 1")
    from minio.datatypes import Part

    # As far as a process gets that dies while it reads back: the object is made, the claim still runs.
    bucket.client()._complete_multipart_upload(bucket.bucket, key, store_upload, [Part(*part) for part in parts])
    await world.sql(f"UPDATE artifact_uploads SET checking_until = now() + interval '2 s' {row}")
    at_once = await world.http.post(
        f"{client.url}/{upload}/complete", headers={"Authorization": f"Bearer {client.access.token}"}
    )
    assert at_once.status_code == 202
    assert int(at_once.headers["retry-after"]) > 0
    assert (await client.complete(upload)).status_code == 201


async def test_the_end_of_the_attempt_ends_its_uploads_and_frees_their_parts(world: World) -> None:
    client, content = await new_attempt(world), content_of(2)
    upload = (await client.begin("a.bin", content))["upload_id"]
    await client.put(upload, 1, content)
    await world.peers.ask(REVOKE, RevokeAttempt(job_id=client.access.job_id, attempt=1))
    assert (await client.put(upload, 2, content)).status_code == 401
    assert (await client.complete(upload)).status_code == 401
    assert (await client.ask_to_begin("a.bin", content)).status_code == 401
    await world.until_sql(f"SELECT count(*) = 0 FROM artifact_uploads WHERE id = '{upload}'")
    job = client.access.job_id
    await world.until_sql(f"SELECT count(*) = 0 FROM object_writes WHERE object_key LIKE 'artifacts/{job}/%'")
    await world.until_no_object(f"artifacts/{client.access.job_id}/")


async def test_an_abandoned_upload_is_swept_with_its_parts_and_not_before(world: World) -> None:
    client, content = await new_attempt(world), content_of(2)
    old, fresh = [(await client.begin(name, content))["upload_id"] for name in ("old.bin", "fresh.bin")]
    await client.put(old, 1, content)
    before = unfinished(client)
    await world.sql(f"UPDATE artifact_uploads SET touched_at = now() - interval '25 h' WHERE id = '{old}'")
    await world.sql(f"UPDATE artifact_uploads SET touched_at = now() - interval '23 h' WHERE id = '{fresh}'")
    await world.until_sql(f"SELECT count(*) = 0 FROM artifact_uploads WHERE id = '{old}'")
    await world.until(lambda: unfinished(client) == before - 1)
    assert (await client.put(old, 2, content)).status_code == 404
    assert (await client.put(fresh, 2, content)).status_code == 200


async def test_a_job_may_not_store_more_than_its_share_with_what_is_under_way(world: World) -> None:
    client, content = await new_attempt(world), content_of(3)
    await client.begin("a.bin", content)  # 16.8 of 60 MB
    assert (await client.ask_to_begin("b.bin", content, size_bytes=40_000_000)).status_code == 200
    full = await client.ask_to_begin("c.bin", content, size_bytes=10_000_000)
    assert (full.status_code, full.json()["code"]) == (507, "job_storage_full")
    for number in ("60000000", "10000000", str(len(content) + 40_000_000)):
        assert number in full.json()["detail"]
    whole = await world.put_artifact(client.access, "c.bin", content[:5_000_000])
    assert (whole.status_code, whole.json()["code"]) == (507, "job_storage_full")
    # The same name makes room for itself, and another attempt of the job counts with it.
    assert (await client.ask_to_begin("b.bin", content, size_bytes=43_000_000, sha256="2" * 64)).status_code == 200
    next_attempt = await new_attempt(world, job_id=client.access.job_id, attempt=2)
    assert (await next_attempt.ask_to_begin("b.bin", content)).status_code == 507
    assert (await (await new_attempt(world)).ask_to_begin("c.bin", content)).status_code == 200


async def test_the_store_that_is_away_costs_no_part(world: World) -> None:
    client, content = await new_attempt(world), content_of(2)
    upload = (await client.begin("a.bin", content))["upload_id"]
    await client.put(upload, 1, content)
    server = world.servers.bucket.server
    server.kill()
    away = await client.put(upload, 2, content)
    assert away.status_code == 503
    assert int(away.headers["retry-after"]) > 0
    server.start()
    assert (await client.put(upload, 2, content)).status_code == 200
    assert (await client.complete(upload)).status_code == 201


async def test_the_routes_of_an_unknown_job_say_no(world: World) -> None:
    client = await new_attempt(world)
    client.url = client.url.replace(client.access.job_id, new_identifier("job"))
    assert (await client.ask_to_begin("a.bin", b"x")).status_code == 403
    unsigned = await world.http.post(client.url, json={"name": "a", "size_bytes": 1, "sha256": "0" * 64})
    assert unsigned.status_code == 401

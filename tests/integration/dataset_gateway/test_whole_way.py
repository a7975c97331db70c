"""Upload, mint, download with ranges and resume, artifacts, revoke: as a user and a pod do it."""

import asyncio
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import nats
import pytest
from nats.js.errors import NotFoundError
from tokenizers import Tokenizer, models, pre_tokenizers

from stoker.stack.standalone import RunningNats
from stoker_shared.errors import RemoteRefusal
from stoker_shared.identifiers import new_identifier
from stoker_shared.rpc.dataset_gateway import (
    DESCRIBE,
    LIST,
    LIST_ARTIFACTS,
    OPEN_ARTIFACT,
    REVOKE,
    TOKEN_STATISTICS,
    DescribeDataset,
    ListArtifacts,
    ListDatasets,
    MeasureTokens,
    OpenArtifact,
    RevokeAttempt,
)
from stoker_shared.subjects import inbox_prefix
from tests.integration.dataset_gateway.conftest import ROWS, World, jsonl


async def events(server: RunningNats, subject: str, count: int) -> list[dict[str, Any]]:
    """The first events on a subject, once they are on the broker."""
    client = await nats.connect(
        server.url,
        nkeys_seed=str(server.seed_files["topology"]),
        inbox_prefix=inbox_prefix("topology").encode(),
        allow_reconnect=False,
    )
    found: list[dict[str, Any]] = []
    sequence = 0
    try:
        async with asyncio.timeout(10):
            while len(found) < count:
                try:
                    message = await client.jetstream().get_msg("EVENTS", sequence + 1, subject=subject, next=True)
                except NotFoundError:
                    await asyncio.sleep(0.05)
                    continue
                sequence = int(message.seq or 0)
                found.append(json.loads(message.data or b""))
    finally:
        await client.close()
    return found


async def test_an_upload_is_stored_described_listed_and_told(world: World) -> None:
    content = jsonl(ROWS)
    opened = await world.open_upload(content)
    assert (await world.peers.ask(LIST, ListDatasets(owner=world.owner))).datasets == []
    response = await world.put(opened, content)
    assert response.status_code == 201
    facts = await world.peers.ask(
        DESCRIBE, DescribeDataset(owner=world.owner, dataset_version_id=opened.dataset_version_id)
    )
    assert facts.model_dump(mode="json") == response.json()
    assert facts.state == "stored"
    assert facts.data_format == "prompt_completion"
    assert facts.fits_methods == ["sft"]
    assert facts.statistics.rows == len(ROWS)
    assert facts.sample == "prompt: question 0\ncompletion: answer 0"
    listed = (await world.peers.ask(LIST, ListDatasets(owner=world.owner))).datasets
    assert [version.dataset_version_id for version in listed] == [opened.dataset_version_id]
    (event,) = await events(world.servers.nats, f"evt.dataset.{opened.dataset_version_id}.stored", 1)
    assert event["rows"] == len(ROWS)
    assert event["sequence"] == 1
    await world.until_sql("SELECT count(*) = 0 FROM object_writes")


async def test_the_same_content_of_the_same_owner_needs_no_second_upload(world: World) -> None:
    version = await world.stored()
    again = await world.open_upload(jsonl(ROWS))
    assert (again.dataset_version_id, again.already_stored, again.upload_url) == (version, True, None)
    of_another = await world.open_upload(jsonl(ROWS), owner="user-00000000000000bb")
    assert not of_another.already_stored
    assert of_another.dataset_version_id != version


async def test_a_gzipped_file_is_checked_by_its_content_and_served_as_it_came(
    world: World, zipped: Callable[[bytes], bytes]
) -> None:
    content = zipped(jsonl(ROWS))
    version = await world.stored(content, filename="data.jsonl.gz")
    minted, _ = await world.mint(version)
    assert (await world.http.get(minted.download_url)).content == content
    assert minted.filename == "data.jsonl.gz"


async def test_a_download_is_whole_ranged_and_resumed(world: World) -> None:
    content = jsonl(ROWS * 200)
    minted, _ = await world.mint(await world.stored(content))
    whole = await world.http.get(minted.download_url)
    assert whole.status_code == 200
    assert whole.content == content
    assert whole.headers["etag"] == f'"{hashlib.sha256(content).hexdigest()}"'
    assert whole.headers["content-length"] == str(len(content))
    assert whole.headers["accept-ranges"] == "bytes"
    assert whole.headers["cache-control"] == "no-store"
    assert whole.headers["content-disposition"] == 'attachment; filename="data.jsonl"'
    part = await world.http.get(minted.download_url, headers={"Range": "bytes=100-299"})
    assert (part.status_code, part.content) == (206, content[100:300])
    assert part.headers["content-range"] == f"bytes 100-299/{len(content)}"
    tail = await world.http.get(
        minted.download_url, headers={"Range": f"bytes={len(content) - 7}-", "If-Range": whole.headers["etag"]}
    )
    assert (tail.status_code, tail.content) == (206, content[-7:])
    other = await world.http.get(minted.download_url, headers={"Range": "bytes=0-1", "If-Range": '"another"'})
    assert (other.status_code, len(other.content)) == (200, len(content))
    counted = f"use_count = 4 AND bytes_served = {2 * len(content) + 200 + 7} AND used_at IS NOT NULL"
    await world.until_sql(f"SELECT {counted} FROM download_tokens WHERE sha256 = '{minted.sha256}'")


async def test_head_tells_size_and_checksum_and_counts_as_no_use(world: World) -> None:
    version = await world.stored()
    minted, _ = await world.mint(version)
    head = await world.http.head(minted.download_url)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == str(minted.size_bytes)
    assert head.headers["etag"] == f'"{minted.sha256}"'
    uses = f"SELECT use_count FROM download_tokens WHERE dataset_version_id = '{version}'"
    assert await world.sql(uses) == [(0,)]


async def test_downloads_say_what_is_wrong(world: World) -> None:
    version = await world.stored()
    minted, _ = await world.mint(version)
    base = f"{world.gateway.url}/v1/datasets/download"
    assert (await world.http.get(base)).status_code == 400
    assert (await world.http.get(f"{base}?token=")).json()["code"] == "token_missing"
    unknown = await world.http.get(f"{base}?token={'x' * 43}")
    assert (unknown.status_code, unknown.json()["code"]) == (401, "token_refused")
    assert unknown.json()["next_step"]
    outside = await world.http.get(minted.download_url, headers={"Range": "bytes=999999-"})
    assert (outside.status_code, outside.headers["content-range"]) == (416, f"bytes */{minted.size_bytes}")
    as_artifact = minted.download_url.replace("datasets", "artifacts")
    assert (await world.http.get(as_artifact)).status_code == 401
    key = await world.only_object(f"datasets/{version}/")
    bucket = world.servers.bucket
    bucket.client().remove_object(bucket.bucket, key)
    assert (await world.http.get(minted.download_url)).status_code == 404
    assert (await world.http.head(minted.download_url)).status_code == 404


async def test_an_expired_token_opens_nothing(world: World) -> None:
    minted, access = await world.mint(await world.stored())
    await world.sql(f"UPDATE download_tokens SET expires_at = now() WHERE job_id = '{access.job_id}'")
    await world.sql(f"UPDATE job_tokens SET expires_at = now() WHERE job_id = '{access.job_id}'")
    assert (await world.http.get(minted.download_url)).status_code == 401
    assert (await world.put_artifact(access, "a.bin", b"x")).status_code == 401


async def test_a_repeated_mint_adds_tokens_and_revoke_ends_them_all(world: World) -> None:
    version = await world.stored()
    job = new_identifier("job")
    first, first_access = await world.mint(version, job_id=job)
    second, second_access = await world.mint(version, job_id=job)
    other, other_access = await world.mint(version, job_id=job, attempt=2)
    assert [(await world.http.get(minted.download_url)).status_code for minted in (first, second)] == [200, 200]
    await world.peers.ask(REVOKE, RevokeAttempt(job_id=job, attempt=1))
    assert [(await world.http.get(minted.download_url)).status_code for minted in (first, second)] == [401, 401]
    assert (await world.put_artifact(first_access, "a.bin", b"x")).status_code == 401
    assert (await world.put_artifact(second_access, "a.bin", b"x")).status_code == 401
    assert (await world.http.get(other.download_url)).status_code == 200
    assert (await world.put_artifact(other_access, "a.bin", b"x")).status_code == 201
    await world.peers.ask(REVOKE, RevokeAttempt(job_id=new_identifier("job"), attempt=1))


async def test_artifacts_are_stored_listed_told_and_fetched(world: World) -> None:
    _, access = await world.mint(await world.stored())
    content = bytes(range(256)) * 5000
    stored = await world.put_artifact(access, "adapter/model.safetensors", content)
    assert stored.status_code == 201
    assert (await world.put_artifact(access, "empty.txt", b"")).status_code == 201
    listed = await world.peers.ask(LIST_ARTIFACTS, ListArtifacts(owner=world.owner, job_id=access.job_id))
    assert [entry.name for entry in listed.artifacts] == ["adapter/model.safetensors", "empty.txt"]
    told = await events(world.servers.nats, f"evt.artifact.{access.job_id}.stored", 2)
    assert [event["sequence"] for event in told] == [1, 2]
    request = OpenArtifact(owner=world.owner, artifact_id=stored.json()["artifact_id"])
    opened = await world.peers.ask(OPEN_ARTIFACT, request)
    world.gateway.secrets.append(opened.download_url.partition("token=")[2])
    fetched = await world.http.get(opened.download_url)
    assert fetched.content == content
    assert fetched.headers["content-disposition"] == 'attachment; filename="model.safetensors"'
    part = await world.http.get(opened.download_url, headers={"Range": "bytes=-3"})
    assert (part.status_code, part.content) == (206, content[-3:])
    empty = await world.peers.ask(
        OPEN_ARTIFACT, OpenArtifact(owner=world.owner, artifact_id=listed.artifacts[1].artifact_id)
    )
    world.gateway.secrets.append(empty.download_url.partition("token=")[2])
    assert (await world.http.get(empty.download_url)).content == b""


async def test_a_repeated_artifact_counts_once_and_a_changed_one_takes_its_place(world: World) -> None:
    _, access = await world.mint(await world.stored())
    first = await world.put_artifact(access, "model.bin", b"first")
    again = await world.put_artifact(access, "model.bin", b"first")
    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json() == first.json()
    changed = await world.put_artifact(access, "model.bin", b"second")
    assert changed.status_code == 201
    assert changed.json()["artifact_id"] == first.json()["artifact_id"]
    kept = await world.only_object(f"artifacts/{access.job_id}/")
    bucket = world.servers.bucket
    assert bucket.client().get_object(bucket.bucket, kept).data == b"second"
    await world.until_sql("SELECT count(*) = 0 FROM object_writes")


async def test_artifacts_are_refused_with_the_reason(world: World) -> None:
    _, access = await world.mint(await world.stored())
    wrong = await world.put_artifact(access, "a.bin", b"x", **{"X-Content-SHA256": "0" * 64})
    assert (wrong.status_code, wrong.json()["code"]) == (422, "checksum_mismatch")
    without = await world.put_artifact(access, "a.bin", b"x", **{"X-Content-SHA256": "no"})
    assert without.json()["errors"][0]["field"] == "X-Content-SHA256"
    for name in ("a%2F..%2Fb", "%2Fetc%2Fpasswd", "a%5Cb", "a%2F%2Fb", "x" * 300, "a%00b"):
        refused = await world.put_artifact(access, name, b"x")
        assert refused.status_code == 422, name
        assert refused.json()["errors"][0]["field"] == "name"
    foreign = await world.http.put(
        f"{world.gateway.url}/v1/jobs/{new_identifier('job')}/artifacts/a.bin",
        content=b"x",
        headers={"Authorization": f"Bearer {access.token}", "X-Content-SHA256": hashlib.sha256(b"x").hexdigest()},
    )
    assert foreign.status_code == 403
    without_token = await world.http.put(f"{world.gateway.url}/v1/jobs/{access.job_id}/artifacts/a.bin", content=b"x")
    assert without_token.status_code == 401
    await world.until_no_object(f"artifacts/{access.job_id}/")


async def test_the_openapi_document_can_be_made(world: World) -> None:
    document = (await world.http.get(f"{world.gateway.url}/openapi.json")).json()
    assert set(document["paths"]) >= {"/v1/uploads/{upload_id}", "/v1/datasets/download", "/v1/artifacts/download"}
    assert httpx.codes.is_success((await world.http.get(f"{world.gateway.url}/readyz")).status_code)


async def test_token_statistics_come_from_the_models_own_folder_or_say_that_they_are_estimates(
    world: World, tmp_path: Path
) -> None:
    version = await world.stored()
    ask = {"owner": world.owner, "dataset_version_id": version, "max_length": 5}
    guessed = await world.peers.ask(TOKEN_STATISTICS, MeasureTokens(name_or_path="some/model", **ask))
    assert not guessed.is_exact
    assert "characters / 4" in guessed.basis
    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()  # type: ignore[assignment]
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    told = await world.peers.ask(TOKEN_STATISTICS, MeasureTokens(name_or_path=str(tmp_path), **ask))
    assert (told.is_exact, told.rows_measured, told.rows) == (True, len(ROWS), len(ROWS))
    assert told.tokens_max == 3
    with pytest.raises(RemoteRefusal):
        await world.peers.ask(TOKEN_STATISTICS, MeasureTokens(name_or_path="m", **{**ask, "owner": "somebody-else"}))

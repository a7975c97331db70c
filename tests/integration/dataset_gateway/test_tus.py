"""The protocol of uploads, header by header and status by status: tus 1.0 with checksum, expiration, termination."""

import base64
import hashlib
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

import httpx
import pytest

from stoker_shared.rpc.dataset_gateway import UploadStatus
from tests.integration.dataset_gateway.conftest import ROWS, World, jsonl

SETTINGS = {"max_upload_bytes": "40000000", "sweep_every": "PT0.5S", "write_lease": "PT3S", "upload_lease": "PT3S"}
CONTENT = jsonl(ROWS)


def checksum(content: bytes) -> str:
    """The header's value."""
    return f"sha256 {base64.b64encode(hashlib.sha256(content).digest()).decode()}"


@pytest.mark.parametrize("path", ["/v1/uploads", "/v1/uploads/upload-0000000000000000"])
async def test_options_tell_what_the_server_can_do_without_a_token(world: World, path: str) -> None:
    answer = await world.http.options(f"{world.gateway.url}{path}")
    assert (answer.status_code, answer.content) == (204, b"")
    assert answer.headers["tus-resumable"] == "1.0.0"
    assert answer.headers["tus-version"] == "1.0.0"
    assert answer.headers["tus-extension"] == "checksum,expiration,termination"
    assert answer.headers["tus-checksum-algorithm"] == "sha256"
    assert answer.headers["tus-max-size"] == "40000000"


async def test_head_tells_offset_length_and_end_and_may_not_be_cached(world: World) -> None:
    opened = await world.open_upload(CONTENT)
    head = await world.tus("HEAD", opened)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["upload-offset"] == "0"
    assert head.headers["upload-length"] == str(len(CONTENT))
    assert head.headers["cache-control"] == "no-store"
    assert head.headers["tus-resumable"] == "1.0.0"
    end = parsedate_to_datetime(head.headers["upload-expires"])
    assert timedelta(hours=23) < end - datetime.now(UTC) <= timedelta(hours=24)


async def test_patch_appends_and_tells_the_new_offset(world: World) -> None:
    opened = await world.open_upload(CONTENT)
    first = await world.patch(opened, CONTENT[:100], offset=0)
    assert (first.status_code, first.content) == (204, b"")
    assert first.headers["upload-offset"] == "100"
    assert first.headers["tus-resumable"] == "1.0.0"
    assert "upload-expires" in first.headers
    receiving = UploadStatus.model_validate((await world.tus("GET", opened)).json())
    assert (receiving.state, receiving.offset_bytes, receiving.facts) == ("receiving", 100, None)
    last = await world.patch(opened, CONTENT[100:], offset=100)
    assert (last.status_code, last.headers["upload-offset"]) == (204, str(len(CONTENT)))
    stored = UploadStatus.model_validate(await world.verdict(opened))
    assert (stored.state, stored.checked_bytes, stored.problem) == ("stored", len(CONTENT), None)
    assert stored.facts is not None
    assert stored.facts.statistics.rows == len(ROWS)
    # Whoever asks later, or has lost the last answer, learns that all of it is there.
    assert await world.offset(opened) == len(CONTENT)
    assert (await world.patch(opened, b"", offset=len(CONTENT))).status_code == 204


async def test_get_needs_no_version_and_rejected_rows_come_with_the_problem(world: World) -> None:
    content = b'{"nothing": "known"}\n' * 3
    opened = await world.open_upload(content)
    assert (await world.patch(opened, content, offset=0)).status_code == 204
    await world.verdict(opened)
    answer = await world.http.get(str(opened.upload_url), headers={"Authorization": f"Bearer {opened.upload_token}"})
    status = UploadStatus.model_validate(answer.json())
    assert status.state == "rejected"
    assert status.facts is not None
    assert status.problem is not None
    assert status.facts.faults_total == 3
    assert (status.problem.code, status.problem.status) == ("dataset_rejected", 422)
    assert status.problem.trace_id == answer.headers["x-trace-id"]


async def test_an_empty_file_is_complete_at_once(world: World) -> None:
    opened = await world.open_upload(b"")
    assert (await world.patch(opened, b"", offset=0)).status_code == 204
    verdict = await world.verdict(opened)
    assert (verdict["state"], verdict["facts"]["fault_counts"]) == ("rejected", {"empty_file": 1})
    await world.until_no_object(f"datasets/{opened.dataset_version_id}/")


async def test_another_offset_is_409_and_tells_the_right_one(world: World) -> None:
    opened = await world.open_upload(CONTENT)
    assert (await world.patch(opened, CONTENT[:100], offset=0)).status_code == 204
    for offset in (0, 99, 101, len(CONTENT), 10**17):
        refused = await world.patch(opened, CONTENT[:50], offset=offset)
        assert (refused.status_code, refused.json()["code"]) == (409, "upload_offset_conflict")
        assert refused.headers["upload-offset"] == "100"
        assert refused.headers["tus-resumable"] == "1.0.0"
        assert "100" in refused.json()["next_step"]
    assert await world.offset(opened) == 100


@pytest.mark.parametrize("method", ["HEAD", "PATCH", "DELETE"])
@pytest.mark.parametrize("version", ["0.2.2", ""])
async def test_another_version_is_412_and_tells_ours(world: World, method: str, version: str) -> None:
    opened = await world.open_upload(CONTENT)
    refused = await world.tus(method, opened, content=b"x", Upload_Offset="0", Tus_Resumable=version)
    assert refused.status_code == 412
    assert refused.headers["tus-version"] == "1.0.0"
    assert await world.offset(opened) == 0


async def test_another_content_type_is_415(world: World) -> None:
    opened = await world.open_upload(CONTENT)
    refused = await world.patch(opened, CONTENT, offset=0, Content_Type="application/octet-stream")
    assert (refused.status_code, refused.json()["code"]) == (415, "content_type_unsupported")


@pytest.mark.parametrize("offset", ["", "-1", "1.5", "ten", "9" * 30, "²"])
async def test_an_offset_that_is_no_number_is_400(world: World, offset: str) -> None:
    opened = await world.open_upload(CONTENT)
    headers = {
        "Authorization": f"Bearer {opened.upload_token}",
        "Tus-Resumable": "1.0.0",
        "Content-Type": "application/offset+octet-stream",
        "Upload-Offset": offset.encode(),
    }
    refused = await world.http.patch(str(opened.upload_url), content=b"x", headers=httpx.Headers(list(headers.items())))
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (400, "Upload-Offset")


@pytest.mark.parametrize("size", [100, 17_000_000])
async def test_a_body_that_differs_from_its_checksum_is_460_and_nothing_of_it_is_kept(world: World, size: int) -> None:
    content = (b'{"text": "' + b"x" * 1000 + b'"}\n') * 25_000
    opened = await world.open_upload(content)
    assert (await world.patch(opened, content[:50], offset=0, Upload_Checksum=checksum(content[:50]))).is_success
    body = content[50 : 50 + size]
    refused = await world.patch(opened, body, offset=50, Upload_Checksum=checksum(b"other"))
    assert (refused.status_code, refused.json()["code"]) == (460, "body_checksum_mismatch")
    assert await world.offset(opened) == 50
    assert (await world.patch(opened, body, offset=50, Upload_Checksum=checksum(body))).status_code == 204
    assert await world.offset(opened) == 50 + size
    rest = content[50 + size :]
    assert (await world.patch(opened, rest, offset=50 + size, Upload_Checksum=checksum(rest))).status_code == 204
    assert (await world.verdict(opened))["state"] == "stored"
    assert world.content(opened.dataset_version_id) == content


@pytest.mark.parametrize("header", ["md5 1B2M2Y8AsgTpgAmY7PhCfg==", "sha256", "sha256 !!", "sha256 YQ==", ""])
async def test_a_checksum_that_cannot_be_read_is_400(world: World, header: str) -> None:
    opened = await world.open_upload(CONTENT)
    refused = await world.patch(opened, CONTENT, offset=0, Upload_Checksum=header)
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (400, "Upload-Checksum")
    assert await world.offset(opened) == 0


async def test_more_than_was_announced_is_413(world: World) -> None:
    opened = await world.open_upload(CONTENT)
    refused = await world.patch(opened, CONTENT + b"x", offset=0)
    assert refused.status_code == 413
    assert (await world.patch(opened, CONTENT[:10], offset=0)).status_code == 204
    assert (await world.patch(opened, CONTENT[9:], offset=10)).status_code == 413
    assert (await world.patch(opened, CONTENT[10:], offset=10)).status_code == 204


async def test_delete_gives_an_upload_up_with_its_bytes(world: World) -> None:
    content = (b'{"text": "' + b"x" * 1000 + b'"}\n') * 10_000
    opened = await world.open_upload(content)
    assert (await world.patch(opened, content[:9_000_000], offset=0)).status_code == 204
    assert len(world.remains(opened)) == 2
    deleted = await world.tus("DELETE", opened)
    assert (deleted.status_code, deleted.headers["tus-resumable"]) == (204, "1.0.0")
    await world.until_nothing_remains(opened)
    await world.until_sql("SELECT count(*) = 0 FROM object_writes")
    for method in ("HEAD", "GET", "PATCH", "PUT", "DELETE"):
        gone = await world.tus(method, opened, content=b"x" if method[0] == "P" else None, Upload_Offset="0")
        assert gone.status_code == 410, method
    again = await world.open_upload(content)
    assert (again.upload_url != opened.upload_url, again.dataset_version_id) == (True, opened.dataset_version_id)


async def test_what_is_decided_cannot_be_given_up(world: World) -> None:
    opened = await world.open_upload(CONTENT)
    assert (await world.put(opened, CONTENT)).status_code == 201
    refused = await world.tus("DELETE", opened)
    assert (refused.status_code, refused.json()["code"]) == (409, "upload_decided")
    assert world.content(opened.dataset_version_id) == CONTENT


@pytest.mark.parametrize("method", ["HEAD", "GET", "PATCH", "PUT", "DELETE"])
async def test_strangers_are_refused_with_401_and_unknown_uploads_with_404(world: World, method: str) -> None:
    opened = await world.open_upload(CONTENT)
    other = await world.open_upload(CONTENT + b"\n")
    body = {"content": b"x", "Upload_Offset": "0"} if method[0] == "P" else {}
    for token in ("x" * 43, other.upload_token):
        refused = await world.tus(method, opened.model_copy(update={"upload_token": token}), **body)
        assert refused.status_code == 401
        assert refused.headers["tus-resumable"] == "1.0.0"
        assert "www-authenticate" in refused.headers
    nowhere = opened.model_copy(update={"upload_url": f"{world.gateway.url}/v1/uploads/upload-0000000000000000"})
    assert (await world.tus(method, nowhere, **body)).status_code == 404


async def test_put_takes_the_place_of_what_came_by_patch(world: World) -> None:
    content = (b'{"text": "' + b"x" * 1000 + b'"}\n') * 10_000
    opened = await world.open_upload(content)
    assert (await world.patch(opened, b"?" * 9_000_000, offset=0)).status_code == 204
    assert (await world.put(opened, content)).status_code == 201
    assert world.content(opened.dataset_version_id) == content
    await world.until_nothing_remains(opened)


async def test_bytes_that_differ_from_what_was_announced_end_the_upload_and_it_can_begin_anew(world: World) -> None:
    opened = await world.open_upload(CONTENT)
    other = CONTENT.replace(b"answer 7", b"answer 8")
    assert (await world.patch(opened, other, offset=0)).status_code == 204
    failed = UploadStatus.model_validate(await world.verdict(opened))
    assert (failed.state, failed.offset_bytes, failed.facts) == ("failed", 0, None)
    assert failed.problem is not None
    assert (failed.problem.code, failed.problem.status) == ("checksum_mismatch", 422)
    assert hashlib.sha256(other).hexdigest() in failed.problem.detail
    state = f"SELECT state FROM dataset_versions WHERE id = '{opened.dataset_version_id}'"
    assert await world.sql(state) == [("uploading",)]
    await world.until_no_object(f"datasets/{opened.dataset_version_id}/")
    await world.until_sql("SELECT count(*) = 0 FROM object_writes")
    again = await world.open_upload(CONTENT)
    assert again.upload_url == opened.upload_url
    assert await world.offset(again) == 0
    assert (await world.patch(again, CONTENT, offset=0)).status_code == 204
    assert (await world.verdict(again))["state"] == "stored"

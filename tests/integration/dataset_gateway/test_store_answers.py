"""What the gateway makes of a store that is full, wrongly set up, or not there. A real store cannot be filled here."""

import threading
from collections.abc import AsyncIterator, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from pydantic import SecretStr

from stoker_dataset_gateway.errors import ObjectMissing, StoreFull, StoreUnavailable
from stoker_dataset_gateway.storage import ObjectStore
from stoker_shared.object_store.address import StoreAddress
from tests.support.ports import free_port
from tests.support.servers import TestBucket


class _Refusing(BaseHTTPRequestHandler):
    status, code = 507, "XMinioStorageFull"

    def do_PUT(self) -> None:
        """Take the body, then refuse."""
        self.rfile.read(int(self.headers.get("Content-Length", "0")))
        body = f"<Error><Code>{self.code}</Code><Message>no</Message></Error>".encode()
        self.send_response(self.status)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


@pytest.fixture
def refusing_endpoint() -> Iterator[str]:
    """Answers every PUT as MinIO does when its disks are full."""
    server = ThreadingHTTPServer(("127.0.0.1", free_port()), _Refusing)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def store(endpoint: str, *, bucket: str = "bucket", key: str = "key", secret: str = "secret") -> ObjectStore:
    """A store at this address."""
    return ObjectStore(
        StoreAddress(
            endpoint=endpoint,
            access_key=SecretStr(key),
            secret_key=SecretStr(secret),
            bucket=bucket,
            region="us-east-1",
            is_secure=False,
        )
    )


def real(bucket: TestBucket) -> ObjectStore:
    """The store of the test."""
    return store(bucket.endpoint, bucket=bucket.bucket, key=bucket.access_key, secret=bucket.secret_key)


async def blocks(*content: bytes, then: Exception | None = None) -> AsyncIterator[bytes]:
    """Bytes, and how they end."""
    for block in content:
        yield block
    if then is not None:
        raise then


async def test_a_full_store_is_told_apart_from_one_that_is_away(refusing_endpoint: str) -> None:
    with pytest.raises(StoreFull) as full:
        await store(refusing_endpoint).put("k", blocks(b"x"), size_hint=1)
    assert full.value.status == 507
    away = store(f"127.0.0.1:{free_port()}")
    with pytest.raises(StoreUnavailable):
        await away.put("k", blocks(b"x"), size_hint=1)
    assert await away.is_ready() is False


async def test_a_wrong_secret_is_no_missing_object(object_store: TestBucket) -> None:
    await real(object_store).put("k", blocks(b"x"), size_hint=1)
    wrong = store(object_store.endpoint, bucket=object_store.bucket, key=object_store.access_key, secret="wrong")
    with pytest.raises(StoreUnavailable):
        await wrong.open("k")


async def test_objects_come_back_whole_and_in_parts_and_can_be_deleted_twice(object_store: TestBucket) -> None:
    objects = real(object_store)
    content = bytes(range(256)) * 80_000  # three parts
    await objects.put("a/b", blocks(content[:1_000_000], content[1_000_000:]), size_hint=0)
    assert await objects.size_of("a/b") == len(content)
    reader = await objects.open("a/b", offset=8_388_600, length=20)
    assert await reader.read() == content[8_388_600:8_388_620]
    assert await reader.read() == b""
    await reader.close()
    await objects.delete("a/b")
    await objects.delete("a/b")
    with pytest.raises(ObjectMissing):
        await objects.open("a/b")


@pytest.mark.parametrize("size", [0, 10, 9_000_000])
async def test_bytes_that_are_refused_at_their_end_leave_no_object(object_store: TestBucket, size: int) -> None:
    objects = real(object_store)
    with pytest.raises(KeyError):
        await objects.put("refused", blocks(b"x" * size, then=KeyError("at the end")), size_hint=size)
    with pytest.raises(ObjectMissing):
        await objects.size_of("refused")


async def test_parts_in_any_order_become_one_object_and_a_repeated_part_counts_once(object_store: TestBucket) -> None:
    objects = real(object_store)
    first, wrong, last = b"a" * 5 * 2**20, b"?" * 5 * 2**20, b"z" * 10
    upload = await objects.begin_parts("in-parts")
    end = await objects.put_part("in-parts", upload=upload, number=2, data=last)
    await objects.put_part("in-parts", upload=upload, number=1, data=wrong)
    start = await objects.put_part("in-parts", upload=upload, number=1, data=first)
    with pytest.raises(ObjectMissing):
        await objects.size_of("in-parts")
    await objects.complete_parts("in-parts", upload=upload, parts=[start, end])
    assert await objects.size_of("in-parts") == len(first) + len(last)
    reader = await objects.open("in-parts", offset=len(first) - 1, length=2)
    assert await reader.read() == b"az"
    await reader.close()


async def test_parts_of_an_abandoned_upload_are_gone(object_store: TestBucket) -> None:
    objects = real(object_store)
    upload = await objects.begin_parts("abandoned")
    part = await objects.put_part("abandoned", upload=upload, number=1, data=b"x")
    await objects.abort_parts("abandoned", upload=upload)
    await objects.abort_parts("abandoned", upload=upload)
    with pytest.raises(ObjectMissing):
        await objects.complete_parts("abandoned", upload=upload, parts=[part])
    with pytest.raises(ObjectMissing):
        await objects.put_part("abandoned", upload=upload, number=1, data=b"x")

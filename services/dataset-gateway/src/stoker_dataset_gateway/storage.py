"""The object store behind one small class: S3 through the minio SDK, streams in both directions."""

import asyncio
from collections.abc import AsyncIterable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import urllib3
from anyio import CapacityLimiter, to_thread
from minio import Minio
from minio.datatypes import Part
from minio.error import InvalidResponseError, MinioException, S3Error, ServerError
from pydantic import SecretStr
from urllib3.exceptions import HTTPError

from stoker_dataset_gateway.byte_bridge import ByteBridge
from stoker_dataset_gateway.errors import ObjectMissing, StoreFull, StoreUnavailable
from stoker_dataset_gateway.object_socket import ObjectSocket, open_socket
from stoker_shared.errors import StokerError
from stoker_shared.logging import get_logger

logger = get_logger(__name__)

READ_BYTES = 2**20
_LEAST_PART_BYTES = 8 * 2**20
_MOST_PARTS = 9_000
# InvalidPart: the store has no such part any more.
_MISSING = frozenset({"NoSuchKey", "NoSuchObject", "NoSuchVersion", "NoSuchUpload", "InvalidPart"})
_FULL = frozenset({"XMinioStorageFull", "XMinioAdminBucketQuotaExceeded", "QuotaExceeded", "InsufficientStorage"})
_THREADS = 64
_SIGNED_FOR = timedelta(minutes=5)

ResultT = TypeVar("ResultT")


@dataclass(frozen=True, slots=True)
class StoreAddress:
    """Where the store is and how to sign in. `endpoint` is host:port without scheme."""

    endpoint: str
    access_key: SecretStr
    secret_key: SecretStr
    bucket: str
    region: str
    is_secure: bool


@dataclass(frozen=True, slots=True)
class StoredPart:
    """A part that the store has. Numbers count from 1; all parts but the last have at least 5 MiB."""

    number: int
    etag: str


class _S3(Minio):
    """The SDK without what it leaves out: a process that is killed in an upload leaves parts that nobody sees."""

    def abort_unfinished(self, bucket: str, key: str) -> None:
        """Free the parts of unfinished uploads of an object."""
        for upload in self._list_multipart_uploads(bucket, prefix=key).uploads:
            if upload.object_name == key:
                self._abort_multipart_upload(bucket, key, str(upload.upload_id))

    def begin_parts(self, bucket: str, key: str) -> str:
        """Begin an object that comes in parts; returns the store's name of the upload."""
        return self._create_multipart_upload(bucket, key, {})

    def put_part(self, bucket: str, key: str, upload: str, part: int, data: bytes) -> str:
        """Store one part; returns its ETag."""
        return self._upload_part(bucket, key, data, None, upload, part)

    def complete_parts(self, bucket: str, key: str, upload: str, parts: Sequence[StoredPart]) -> None:
        """Make the parts one object."""
        self._complete_multipart_upload(bucket, key, upload, [Part(part.number, part.etag) for part in parts])

    def abort_parts(self, bucket: str, key: str, upload: str) -> None:
        """Free the parts."""
        self._abort_multipart_upload(bucket, key, upload)


def part_bytes_for(size_bytes: int) -> int:
    """How many bytes each part of an object of this size has, but the last: few parts, none too small for a store."""
    return max(_LEAST_PART_BYTES, -(-size_bytes // _MOST_PARTS))


class ObjectReader:
    """An open object; `read` until it gives nothing, then `close`."""

    def __init__(self, response: urllib3.BaseHTTPResponse, limiter: CapacityLimiter) -> None:
        self._response = response
        self._limiter = limiter

    async def read(self) -> bytes:
        """The next bytes, at most `READ_BYTES`; nothing at the end.

        Raises:
            StoreUnavailable: the store broke off.
        """
        return await _in_thread(self._limiter, self._read)

    async def close(self) -> None:
        """Give the connection back, or cut it if not all was read."""
        await to_thread.run_sync(self._close, limiter=self._limiter)

    def _read(self) -> bytes:
        # The SDK's own checks end with the headers: a body that is cut short raises urllib3's IncompleteRead here.
        return self._response.read(READ_BYTES)

    def _close(self) -> None:
        self._response.close()
        self._response.release_conn()


class ObjectStore:
    """Objects of one bucket. Every method may raise StoreUnavailable."""

    def __init__(self, address: StoreAddress) -> None:
        self._bucket = address.bucket
        self._is_secure = address.is_secure
        self._limiter = CapacityLimiter(_THREADS)
        # Uploads hold a thread for as long as their client sends; they must not starve reads and deletes.
        self._upload_limiter = CapacityLimiter(_THREADS)
        self._client = _S3(
            address.endpoint,
            access_key=address.access_key.get_secret_value(),
            secret_key=address.secret_key.get_secret_value(),
            region=address.region,  # else each start asks the server for it
            secure=address.is_secure,
            http_client=_http_client(),
        )

    async def ensure_bucket(self) -> None:
        """Create the bucket if it is not there."""
        if not await self.is_ready():
            await self._call(self._client.make_bucket, self._bucket)

    async def is_ready(self) -> bool:
        """Whether the store answers and has the bucket."""
        try:
            return bool(await self._call(self._client.bucket_exists, self._bucket))
        except StoreUnavailable:
            return False

    async def put(self, key: str, blocks: AsyncIterable[bytes], *, size_hint: int) -> None:
        """Stream an object in, in constant memory. Whole or not at all.

        If `blocks` raises, even after its last block, nothing is stored and the error comes out here.

        Raises:
            StoreFull, StoreUnavailable.
        """
        bridge = ByteBridge()
        upload = asyncio.ensure_future(self._put_from(bridge, key, size_hint))
        try:
            async for block in blocks:
                await _first_of(bridge.offer(block), upload)
            bridge.finish()
        except BaseException:
            bridge.abort()
            # Wait for the thread: what it does after this could leave an object behind.
            await asyncio.wait([upload])
            _retrieve(upload)
            raise
        await upload

    async def open(self, key: str, *, offset: int = 0, length: int = 0) -> ObjectReader:
        """Open an object, or `length` bytes of it from `offset` on; `length` 0 means to the end.

        Raises:
            ObjectMissing.
        """
        try:
            response = await self._call(self._client.get_object, self._bucket, key, offset=offset, length=length)
        except ObjectMissing:
            raise ObjectMissing(key) from None
        return ObjectReader(response, self._limiter)

    @property
    def has_sockets(self) -> bool:
        """Whether `open_socket` works; over TLS a bare socket is of no use."""
        return not self._is_secure

    async def open_socket(self, key: str, *, offset: int, length: int) -> ObjectSocket:
        """`length` bytes of an object from `offset` on, on a bare socket.

        Raises:
            ObjectMissing.
        """
        url = self._client.get_presigned_url("GET", self._bucket, key, expires=_SIGNED_FOR)
        try:
            return await _in_thread(self._limiter, open_socket, url, offset=offset, length=length)
        except ObjectMissing:
            raise ObjectMissing(key) from None

    async def size_of(self, key: str) -> int:
        """Bytes of an object.

        Raises:
            ObjectMissing.
        """
        found = await self._call(self._client.stat_object, self._bucket, key)
        return int(found.size or 0)

    async def delete(self, key: str) -> None:
        """Delete an object and the parts of unfinished ones; no error if there is none."""
        await self._call(self._client.abort_unfinished, self._bucket, key)
        await self._call(self._client.remove_object, self._bucket, key)

    async def begin_parts(self, key: str) -> str:
        """Begin an object whose parts come one by one, over several requests; returns the store's name of it."""
        return await self._call(self._client.begin_parts, self._bucket, key)

    async def put_part(self, key: str, *, upload: str, number: int, data: bytes) -> StoredPart:
        """Store one part; the same number again takes the earlier one's place.

        Raises:
            ObjectMissing: the store does not know this upload, or not any more.
            StoreFull.
        """
        etag = await _in_thread(self._upload_limiter, self._client.put_part, self._bucket, key, upload, number, data)
        return StoredPart(number, etag)

    async def complete_parts(self, key: str, *, upload: str, parts: Sequence[StoredPart]) -> None:
        """Make the parts one object, in the order of their numbers.

        Raises:
            ObjectMissing: the store does not know this upload; it may have been completed before.
        """
        await self._call(self._client.complete_parts, self._bucket, key, upload, parts)

    async def abort_parts(self, key: str, *, upload: str) -> None:
        """Free the parts; no error if there are none."""
        with suppress(ObjectMissing):
            await self._call(self._client.abort_parts, self._bucket, key, upload)

    async def _put_from(self, bridge: ByteBridge, key: str, size_hint: int) -> None:
        await _in_thread(
            self._upload_limiter,
            self._client.put_object,
            self._bucket,
            key,
            bridge,
            # Unknown on purpose: the SDK then completes the object only after the bridge says that all is good.
            length=-1,
            part_size=part_bytes_for(size_hint),
            # More would queue parts without a bound.
            num_parallel_uploads=1,
        )

    async def _call(self, function: Callable[..., ResultT], *arguments: Any, **named: Any) -> ResultT:
        return await _in_thread(self._limiter, function, *arguments, **named)


async def _in_thread(
    limiter: CapacityLimiter, function: Callable[..., ResultT], *arguments: Any, **named: Any
) -> ResultT:
    try:
        return await to_thread.run_sync(lambda: function(*arguments, **named), limiter=limiter)
    except (MinioException, HTTPError, OSError) as error:
        raise _translated(error) from error


async def _first_of(offer: Any, upload: "asyncio.Future[None]") -> None:
    """Wait for room, but not for ever if the reader has died."""
    offering = asyncio.ensure_future(offer)
    try:
        await asyncio.wait({offering, upload}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        if not offering.done():
            offering.cancel()
    if upload.done():
        upload.result()


def _retrieve(upload: "asyncio.Future[None]") -> None:
    if not upload.cancelled():
        upload.exception()


def _translated(error: Exception) -> StokerError:
    code, status = _code_and_status(error)
    if code in _MISSING:
        return ObjectMissing("")
    logger.warning("object store failed", code=code, status=status, error=str(error)[:500])
    if code in _FULL or status == 507:
        return StoreFull()
    return StoreUnavailable(code or type(error).__name__)


def _code_and_status(error: Exception) -> tuple[str, int]:
    match error:
        case S3Error():
            return error.code or "", error.response.status
        case ServerError():
            return "ServerError", error.status_code
        case InvalidResponseError():
            return "InvalidResponse", 0
        case _:
            return "", 0


class PublicStore:
    """Addresses of objects that a client can fetch from the store by itself. Computed here, nobody is asked."""

    def __init__(self, address: StoreAddress) -> None:
        self._bucket = address.bucket
        self._client = _S3(
            address.endpoint,
            access_key=address.access_key.get_secret_value(),
            secret_key=address.secret_key.get_secret_value(),
            region=address.region,
            secure=address.is_secure,
        )

    def url_of(self, key: str, *, lifetime: timedelta, answer_headers: Mapping[str, str]) -> str:
        """A GET address that works for `lifetime`; the store answers with `answer_headers`."""
        wanted: dict[str, str | list[str] | tuple[str]] = {
            f"response-{name.lower()}": value for name, value in answer_headers.items()
        }
        return self._client.presigned_get_object(self._bucket, key, expires=lifetime, response_headers=wanted)


def _http_client() -> urllib3.PoolManager:
    # The SDK's default tries for minutes when nobody answers.
    return urllib3.PoolManager(
        maxsize=2 * _THREADS,
        timeout=urllib3.Timeout(connect=3, read=60),
        retries=urllib3.Retry(total=2, backoff_factor=0.2, status_forcelist=(502, 503, 504), raise_on_status=False),
    )

"""Objects of one bucket, through the minio SDK."""

import asyncio
from collections.abc import AsyncIterable, Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any, TypeVar

from anyio import CapacityLimiter

from stoker_dataset_gateway.errors import ObjectMissing, StoreUnavailable
from stoker_dataset_gateway.storage.byte_bridge import ByteBridge
from stoker_dataset_gateway.storage.failing import called
from stoker_dataset_gateway.storage.object_socket import ObjectSocket, open_socket
from stoker_dataset_gateway.storage.reading import ObjectReader
from stoker_dataset_gateway.storage.sdk import PartsClient, StoredPart, part_bytes_for
from stoker_shared.object_store.address import StoreAddress
from stoker_shared.object_store.client import client_of

_THREADS = 64
_SIGNED_FOR = timedelta(minutes=5)

ResultT = TypeVar("ResultT")


class ObjectStore:
    """Objects of one bucket. Every method may raise StoreUnavailable."""

    def __init__(self, address: StoreAddress) -> None:
        self._bucket = address.bucket
        self._is_secure = address.is_secure
        self._limiter = CapacityLimiter(_THREADS)
        # Uploads hold a thread for as long as their client sends; they must not starve reads and deletes.
        self._upload_limiter = CapacityLimiter(_THREADS)
        self._client = client_of(address, PartsClient, connections=2 * _THREADS)

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
            return await called(self._limiter, open_socket, url, offset=offset, length=length)
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
        etag = await called(self._upload_limiter, self._client.put_part, self._bucket, key, upload, number, data)
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
        await called(
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
        return await called(self._limiter, function, *arguments, **named)


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

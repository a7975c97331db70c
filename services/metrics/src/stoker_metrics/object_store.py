"""The object store behind one small class: whole objects of a few megabytes."""

import io
from collections.abc import Callable
from datetime import timedelta
from typing import TypeVar

from anyio import CapacityLimiter
from minio import Minio

from stoker_metrics.errors import ObjectGone
from stoker_shared.errors import ServiceUnavailable, StokerError
from stoker_shared.object_store.address import StoreAddress
from stoker_shared.object_store.client import client_of
from stoker_shared.object_store.faults import StoreFault, in_thread

_THREADS = 8
_SILENCE = timedelta(seconds=30)

ResultT = TypeVar("ResultT")


class ObjectStore:
    """Objects of one bucket. Every method may raise ServiceUnavailable."""

    def __init__(self, address: StoreAddress) -> None:
        self._bucket = address.bucket
        self._limiter = CapacityLimiter(_THREADS)
        self._client = client_of(address, Minio, connections=_THREADS, silence=_SILENCE)

    async def put(self, key: str, content: bytes) -> None:
        """Store an object, whole or not at all; one of the same name is replaced."""
        await self._call(lambda: self._put(key, content))

    async def get(self, key: str) -> bytes:
        """An object.

        Raises:
            ObjectGone: there is none.
        """
        return await self._call(lambda: self._get(key))

    async def delete(self, key: str) -> None:
        """Delete an object; no error if there is none."""
        await self._call(lambda: self._client.remove_object(self._bucket, key))

    def _put(self, key: str, content: bytes) -> None:
        # The gateway makes the bucket as well; whoever comes first.
        if not self._client.bucket_exists(self._bucket):
            self._client.make_bucket(self._bucket)
        self._client.put_object(self._bucket, key, io.BytesIO(content), len(content))

    def _get(self, key: str) -> bytes:
        response = self._client.get_object(self._bucket, key)
        try:
            return response.read()
        finally:
            response.close()
            response.release_conn()

    async def _call(self, work: Callable[[], ResultT]) -> ResultT:
        return await in_thread(work, limiter=self._limiter, translated=_translated)


def _translated(fault: StoreFault) -> StokerError:
    # A lost upload of parts is no missing object: what was to be stored is still in the rows.
    return ObjectGone() if fault.kind == "object_missing" else ServiceUnavailable("object store", fault.code)

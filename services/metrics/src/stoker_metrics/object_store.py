"""The object store behind one small class: whole objects of a few megabytes, through the minio SDK."""

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import urllib3
from anyio import CapacityLimiter, to_thread
from minio import Minio
from minio.error import MinioException, S3Error
from pydantic import SecretStr
from urllib3.exceptions import HTTPError

from stoker_metrics.errors import ObjectGone
from stoker_shared.errors import ServiceUnavailable

_THREADS = 8
_MISSING = frozenset({"NoSuchKey", "NoSuchObject"})

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


class ObjectStore:
    """Objects of one bucket. Every method may raise ServiceUnavailable."""

    def __init__(self, address: StoreAddress) -> None:
        self._bucket = address.bucket
        self._limiter = CapacityLimiter(_THREADS)
        self._client = Minio(
            address.endpoint,
            access_key=address.access_key.get_secret_value(),
            secret_key=address.secret_key.get_secret_value(),
            region=address.region,  # else each start asks the server for it
            secure=address.is_secure,
            # The SDK's default tries for minutes when nobody answers.
            http_client=urllib3.PoolManager(
                maxsize=_THREADS,
                timeout=urllib3.Timeout(connect=3, read=30),
                retries=urllib3.Retry(total=2, backoff_factor=0.2, status_forcelist=(502, 503, 504)),
            ),
        )

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
        try:
            return await to_thread.run_sync(work, limiter=self._limiter)
        except S3Error as error:
            if error.code in _MISSING:
                raise ObjectGone from error
            raise ServiceUnavailable("object store", error.code or "S3Error") from error
        except (MinioException, HTTPError, OSError) as error:
            raise ServiceUnavailable("object store", type(error).__name__) from error

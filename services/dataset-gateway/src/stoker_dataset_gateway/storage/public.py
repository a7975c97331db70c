"""Addresses of objects for clients."""

from collections.abc import Mapping
from datetime import timedelta

from minio import Minio

from stoker_shared.object_store.address import StoreAddress
from stoker_shared.object_store.client import client_of


class PublicStore:
    """Addresses of objects that a client can fetch from the store by itself. Computed here, nobody is asked."""

    def __init__(self, address: StoreAddress) -> None:
        self._bucket = address.bucket
        self._client = client_of(address, Minio)

    def url_of(self, key: str, *, lifetime: timedelta, answer_headers: Mapping[str, str]) -> str:
        """A GET address that works for `lifetime`; the store answers with `answer_headers`."""
        wanted: dict[str, str | list[str] | tuple[str]] = {
            f"response-{name.lower()}": value for name, value in answer_headers.items()
        }
        return self._client.presigned_get_object(self._bucket, key, expires=lifetime, response_headers=wanted)

"""The SDK's client of a store, with our patience instead of its own."""

from datetime import timedelta
from typing import TypeVar

import urllib3
from minio import Minio

from stoker_shared.object_store.address import StoreAddress

ClientT = TypeVar("ClientT", bound=Minio)

_CONNECT_SECONDS = 3
_TRIED_AGAIN = (502, 503, 504)


def client_of(
    address: StoreAddress, kind: type[ClientT], *, connections: int = 8, silence: timedelta = timedelta(seconds=60)
) -> ClientT:
    """A client of this kind. `connections`: as many as are kept; `silence`: how long an answer may pause."""
    return kind(
        address.endpoint,
        access_key=address.access_key.get_secret_value(),
        secret_key=address.secret_key.get_secret_value(),
        region=address.region,  # else each start asks the server for it
        secure=address.is_secure,
        http_client=_http_client(connections, silence),
    )


def _http_client(connections: int, silence: timedelta) -> urllib3.PoolManager:
    # The SDK's default tries for minutes when nobody answers.
    return urllib3.PoolManager(
        maxsize=connections,
        timeout=urllib3.Timeout(connect=_CONNECT_SECONDS, read=silence.total_seconds()),
        # Not raised: the store's last answer says more than that there were too many tries.
        retries=urllib3.Retry(total=2, backoff_factor=0.2, status_forcelist=_TRIED_AGAIN, raise_on_status=False),
    )

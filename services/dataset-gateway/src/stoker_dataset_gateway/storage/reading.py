"""An object that is being read."""

import urllib3
from anyio import CapacityLimiter, to_thread

from stoker_dataset_gateway.storage.failing import called

READ_BYTES = 2**20


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
        return await called(self._limiter, self._read)

    async def close(self) -> None:
        """Give the connection back, or cut it if not all was read."""
        await to_thread.run_sync(self._close, limiter=self._limiter)

    def _read(self) -> bytes:
        # The SDK's own checks end with the headers: a body that is cut short raises urllib3's IncompleteRead here.
        return self._response.read(READ_BYTES)

    def _close(self) -> None:
        self._response.close()
        self._response.release_conn()

"""An HTTP response that streams an object in constant memory."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

import anyio
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from stoker_dataset_gateway.errors import StoreUnavailable
from stoker_dataset_gateway.storage import ObjectReader


class ObjectStream(StreamingResponse):
    """Sends `length` bytes of `reader`. If the store breaks off, so does the response: short of its Content-Length.

    `on_end` is told how many bytes went out, however it ended.
    """

    def __init__(
        self,
        reader: ObjectReader,
        *,
        length: int,
        status_code: int,
        headers: Mapping[str, str],
        on_end: Callable[[int], Awaitable[None]],
    ) -> None:
        super().__init__(
            self._blocks(), status_code=status_code, headers=headers, media_type="application/octet-stream"
        )
        self._reader = reader
        self._length = length
        self._on_end = on_end
        self._sent = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send, then close the object and account for it."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            with anyio.CancelScope(shield=True):
                await self._reader.close()
                await self._on_end(self._sent)

    async def _blocks(self) -> AsyncIterator[bytes]:
        while block := await self._reader.read():
            yield block
            self._sent += len(block)
        if self._sent < self._length:
            raise StoreUnavailable(f"it ended after {self._sent} of {self._length} bytes")

"""HTTP responses that stream an object in constant memory, and end when the client has gone away."""

import asyncio
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from stoker_dataset_gateway.downloads.carriers import Carrier, carrier_for, send_body
from stoker_dataset_gateway.downloads.headers import Segment
from stoker_dataset_gateway.downloads.ranges import ByteRange
from stoker_dataset_gateway.downloads.service import DownloadService, ServedFile
from stoker_dataset_gateway.errors import ClientGone, ObjectMissing, StoreUnavailable
from stoker_shared.logging import get_logger

logger = get_logger(__name__)

_GZIP_LEVEL = 1
_GZIP_FORMAT = 31  # zlib's number for a gzip header around the largest window
_GONE_SECONDS = 5.0


class FileStream(Response):
    """Sends the segments of a body. If the store breaks off, so does the response, and the client can tell.

    Nothing is sent before the store has answered, so that a missing object is still a 404. However it ends, the
    store's connection is closed and the token's download counts as over.
    """

    def __init__(
        self,
        service: DownloadService,
        file: ServedFile,
        *,
        status_code: int,
        headers: Mapping[str, str],
        segments: Sequence[Segment],
    ) -> None:
        super().__init__(status_code=status_code)
        # The base class would tell the length of an empty body.
        self.raw_headers = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()]
        self._service = service
        self._file = file
        self._segments = segments

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send until the end, or until the client is gone."""
        with self._service.limits.download(self._file.token_hash):
            self._service.count_use(self._file)
            sending = asyncio.ensure_future(self._send(scope, send))
            leaving = asyncio.ensure_future(_until_gone(receive))
            try:
                await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
                if _has_lost_client(sending):
                    # The server learns of it a moment later; a body that ends before that would be our fault.
                    await asyncio.wait({leaving}, timeout=_GONE_SECONDS)
            finally:
                sending.cancel()
                leaving.cancel()
                await asyncio.wait({sending, leaving})
        if not sending.cancelled() and not _has_lost_client(sending):
            sending.result()

    async def _send(self, scope: Scope, send: Send) -> None:
        carrier = carrier_for(scope, self._service, self._file)
        first = next((segment for segment in self._segments if isinstance(segment, ByteRange)), None)
        if first is None:
            await self._service.ensure_there(self._file)
            await self._start(send)
            return await send_body(send, b"", is_last=True)
        async with carrier.opened(first) as source:
            await self._start(send)
            try:
                await self._send_segments(carrier, source, send)
            except (StoreUnavailable, ObjectMissing, ClientGone) as error:
                logger.warning("download broken off", reason=error.detail)
                if not carrier.abort():
                    raise
                raise ClientGone("cut off") from error
        return None

    async def _send_segments(self, carrier: Carrier, first_source: Any, send: Send) -> None:
        source = first_source
        for segment in self._segments:
            if isinstance(segment, bytes):
                await send_body(send, segment)
            elif source is not None:
                await carrier.carry(source, segment, send)
                source = None
            else:
                async with carrier.opened(segment) as further:
                    await carrier.carry(further, segment, send)
        await send_body(send, b"", is_last=True)

    async def _start(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})


class GzipStream(FileStream):
    """Sends a whole file packed. The bytes that count are those on the wire."""

    async def _send(self, _scope: Scope, send: Send) -> None:
        packer = zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, _GZIP_FORMAT)
        whole = ByteRange(0, self._file.size_bytes)
        async with self._service.reading(self._file, whole) as reader:
            await self._start(send)
            taken = 0
            while block := await reader.read():
                taken += len(block)
                await self._give(await asyncio.to_thread(packer.compress, block), send)
            if taken < whole.length:
                raise StoreUnavailable(f"it ended after {taken} of {whole.length} bytes")
        await self._give(packer.flush(), send)
        await send_body(send, b"", is_last=True)

    async def _give(self, packed: bytes, send: Send) -> None:
        if not packed:
            return
        try:
            async with asyncio.timeout(self._service.rules.idle_timeout.total_seconds()):
                await send_body(send, packed)
        except TimeoutError as error:
            raise ClientGone("it took nothing") from error
        self._service.count_bytes(self._file, len(packed))


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _has_lost_client(sending: "asyncio.Future[None]") -> bool:
    return sending.done() and not sending.cancelled() and isinstance(sending.exception(), ClientGone)

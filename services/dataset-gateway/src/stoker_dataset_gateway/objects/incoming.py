"""The body of a request as blocks: bounded in size and in silence, hashed on the way."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from datetime import timedelta

from starlette.requests import ClientDisconnect, Request

from stoker_dataset_gateway.errors import ChecksumMismatch, UploadInterrupted
from stoker_shared.errors import PayloadTooLarge, RequestInvalid

BLOCK_BYTES = 2**20


class Digest:
    """SHA-256 and size of what went past."""

    def __init__(self) -> None:
        self._sha256 = hashlib.sha256()
        self.size_bytes = 0

    def take(self, block: bytes) -> None:
        """The next bytes."""
        self._sha256.update(block)
        self.size_bytes += len(block)

    def compare(self, *, sha256: str, size_bytes: int | None = None) -> None:
        """Raise ChecksumMismatch unless exactly the announced content went past."""
        if size_bytes is not None and size_bytes != self.size_bytes:
            raise ChecksumMismatch(announced=f"{size_bytes} bytes", received=f"{self.size_bytes} bytes")
        found = self._sha256.hexdigest()
        if found != sha256:
            raise ChecksumMismatch(announced=f"SHA-256 {sha256}", received=f"SHA-256 {found}")


def announced_length(request: Request, *, limit_bytes: int) -> int | None:
    """The Content-Length, None if the client does not say.

    Raises:
        PayloadTooLarge, RequestInvalid.
    """
    header = request.headers.get("content-length")
    if header is None:
        return None
    if not header.isascii() or not header.isdigit():
        raise RequestInvalid("Content-Length is not a number.", next_step="Send the number of bytes.")
    if int(header) > limit_bytes:
        raise _too_large(limit_bytes)
    return int(header)


async def incoming_blocks(request: Request, *, limit_bytes: int, idle_timeout: timedelta) -> AsyncIterator[bytes]:
    """Blocks of `BLOCK_BYTES` and a last one that may be shorter.

    Raises:
        PayloadTooLarge: more than the limit.
        UploadInterrupted: the client went away, or sent nothing for `idle_timeout`.
    """
    received = 0
    held = bytearray()
    chunks = request.stream()
    while True:
        try:
            chunk = await _next_chunk(chunks, idle_timeout)
        except UploadInterrupted:
            # Who can go on later keeps what came.
            yield bytes(held)
            raise
        if chunk is None:
            break
        received += len(chunk)
        if received > limit_bytes:
            raise _too_large(limit_bytes)
        held += chunk
        if len(held) >= BLOCK_BYTES:
            yield bytes(held)
            held.clear()
    if held:
        yield bytes(held)


async def _next_chunk(chunks: AsyncIterator[bytes], idle_timeout: timedelta) -> bytes | None:
    try:
        async with asyncio.timeout(idle_timeout.total_seconds()):
            return await anext(chunks, None)
    except ClientDisconnect as error:
        raise UploadInterrupted("The connection broke before all bytes had come") from error
    except TimeoutError as error:
        raise UploadInterrupted(f"No bytes came for {idle_timeout.total_seconds():.0f} s") from error


def _too_large(limit_bytes: int) -> PayloadTooLarge:
    return PayloadTooLarge(
        f"At most {limit_bytes} bytes are taken here.", next_step="Split the file, or ask your operator for more."
    )

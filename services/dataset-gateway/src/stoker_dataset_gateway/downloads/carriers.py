"""The two ways in which a part of a file gets from the store to the client."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Protocol

from starlette.types import Scope, Send

from stoker_dataset_gateway.downloads.ranges import ByteRange
from stoker_dataset_gateway.downloads.relay import CAN_RELAY, relay
from stoker_dataset_gateway.downloads.service import DownloadService, ServedFile
from stoker_dataset_gateway.errors import ClientGone, StoreUnavailable
from stoker_dataset_gateway.storage import ObjectReader, ObjectSocket
from stoker_shared.web import ClientSocket, client_socket


class Carrier(Protocol):
    """Opens parts and carries what is opened."""

    def opened(self, part: ByteRange) -> AbstractAsyncContextManager[Any]:
        """A part at the store. Raises ObjectMissing, StoreUnavailable."""
        ...

    async def carry(self, source: Any, part: ByteRange, send: Send) -> None:
        """Send it, all of it. Raises StoreUnavailable, ClientGone."""
        ...

    def abort(self) -> bool:
        """Cut the client off; false if only the server can."""
        ...


def carrier_for(scope: Scope, service: DownloadService, file: ServedFile) -> Carrier:
    """The fastest that this connection, this store and this machine allow."""
    client = client_socket(scope) if CAN_RELAY and service.has_sockets else None
    return BlockCarrier(service, file) if client is None else KernelCarrier(service, file, client)


class KernelCarrier:
    """Socket to socket in the kernel."""

    def __init__(self, service: DownloadService, file: ServedFile, client: ClientSocket) -> None:
        self._service = service
        self._file = file
        self._client = client

    @asynccontextmanager
    async def opened(self, part: ByteRange) -> AsyncIterator[ObjectSocket]:
        """A part at the store."""
        source = await self._service.open_socket(self._file, part)
        try:
            yield source
        finally:
            source.close()

    async def carry(self, source: ObjectSocket, part: ByteRange, send: Send) -> None:
        """Send it."""
        if source.first_bytes:
            await send_body(send, source.first_bytes)
            self._service.count_bytes(self._file, len(source.first_bytes))
        try:
            target = await self._client.lend()
        except ConnectionError as error:
            raise ClientGone(type(error).__name__) from error
        try:
            await relay(
                source,
                target,
                part.length - len(source.first_bytes),
                on_sent=self._note,
                idle_timeout=self._service.rules.idle_timeout,
            )
        finally:
            os.close(target)

    def abort(self) -> bool:
        """Cut the client off."""
        self._client.abort()
        return True

    def _note(self, count: int) -> None:
        self._client.note_sent(count)
        self._service.count_bytes(self._file, count)


class BlockCarrier:
    """Block by block through this process: for a store behind TLS, and where the kernel cannot do it."""

    def __init__(self, service: DownloadService, file: ServedFile) -> None:
        self._service = service
        self._file = file

    def opened(self, part: ByteRange) -> AbstractAsyncContextManager[ObjectReader]:
        """A part at the store."""
        return self._service.reading(self._file, part)

    async def carry(self, source: ObjectReader, part: ByteRange, send: Send) -> None:
        """Send it."""
        sent = 0
        while block := await source.read():
            await self._give(send, block)
            sent += len(block)
            self._service.count_bytes(self._file, len(block))
        if sent < part.length:
            raise StoreUnavailable(f"it ended after {sent} of {part.length} bytes")

    def abort(self) -> bool:
        """Only the server can."""
        return False

    async def _give(self, send: Send, block: bytes) -> None:
        try:
            async with asyncio.timeout(self._service.rules.idle_timeout.total_seconds()):
                await send_body(send, block)
        except TimeoutError as error:
            raise ClientGone("it took nothing") from error


async def send_body(send: Send, content: bytes, *, is_last: bool = False) -> None:
    """One message of a body."""
    await send({"type": "http.response.body", "body": content, "more_body": not is_last})

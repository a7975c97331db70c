"""The bytes of one request on their way into the parts of an upload."""

import base64
import hashlib
import hmac
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from sqlalchemy.ext.asyncio import AsyncSession

from stoker_dataset_gateway.datasets.repository import DatasetRepository
from stoker_dataset_gateway.errors import (
    BodyChecksumMismatch,
    ObjectMissing,
    OffsetConflict,
    UploadInterrupted,
    WriteInProgress,
)
from stoker_dataset_gateway.objects.service import ObjectWriter, ObjectWriting
from stoker_dataset_gateway.storage import ObjectStore, StoredPart, part_bytes_for
from stoker_dataset_gateway.uploads.holding import Held
from stoker_dataset_gateway.uploads.remains import NOTHING_THERE, Remains
from stoker_dataset_gateway.uploads.repository import UploadRepository
from stoker_dataset_gateway.uploads.tables import TAKES_BYTES, UploadState
from stoker_shared.clock import Clock
from stoker_shared.database import Database
from stoker_shared.errors import PayloadTooLarge
from stoker_shared.identifiers import new_identifier


@dataclass(slots=True)
class _Taken:
    """What has come in one request. `parts` wait for their row; `rest` is not in the store yet."""

    offset: int
    rest: bytearray
    next_number: int
    parts: list[StoredPart] = field(default_factory=list)


class Receiver:
    """Cuts bytes into parts, gives them to the store, and notes what the store has."""

    def __init__(
        self, database: Database, store: ObjectStore, writer: ObjectWriter, *, clock: Clock, lifetime: timedelta
    ) -> None:
        self._database = database
        self._store = store
        self._writer = writer
        self._clock = clock
        self._lifetime = lifetime
        self._uploads = UploadRepository()
        self._versions = DatasetRepository()
        self._remains = Remains(writer)

    async def take(self, held: Held, blocks: AsyncIterator[bytes], *, body_sha256: bytes | None = None) -> None:
        """Append bytes. With the last byte of the file the upload waits for its check.

        Without a checksum of the body every byte that came is kept, also when the sender goes away; with one, all of
        them or none.

        Raises:
            PayloadTooLarge: more bytes than were announced; those up to there are kept.
            BodyChecksumMismatch: nothing of this body is kept.
            UploadInterrupted: the sender went away.
            WriteInProgress: another sender has taken over.
            StoreUnavailable, StoreFull: whole parts are kept.
        """
        if held.upload.object_key is None:
            await self._begin(held)
        taken = await self._start(held)
        digest = hashlib.sha256()
        try:
            async for block in blocks:
                digest.update(block)
                await self._add(held, taken, block, is_noted_at_once=body_sha256 is None)
        except UploadInterrupted:
            if body_sha256 is None:
                await self._keep_all(held, taken)
            raise
        if body_sha256 is not None and not hmac.compare_digest(digest.digest(), body_sha256):
            raise BodyChecksumMismatch(
                announced=base64.b64encode(body_sha256).decode(), received=base64.b64encode(digest.digest()).decode()
            )
        await self._keep_all(held, taken)

    async def start_anew(self, held: Held) -> None:
        """Forget what has come; the right to append stays."""
        values = {**NOTHING_THERE, "held_by": held.holder, "held_until": held.upload.held_until}
        async with self._database.transaction() as session:
            await self._change(session, held, values)
            keys = await self._remains.let_go(session, held.upload)
        _apply(held, values)
        await self._remains.delete(keys)

    async def _begin(self, held: Held) -> None:
        upload = held.upload
        key = f"datasets/{upload.dataset_version_id}/{new_identifier('object')}"
        async with self._writer.writing(key=key, purpose=f"upload:{upload.id}") as writing:
            # Not every store takes an object of no parts.
            store_upload = await self._store.begin_parts(key) if upload.size_bytes else None
            values = {
                "object_key": key,
                "store_upload": store_upload,
                "state": UploadState.RECEIVING,
                "problem": None,
                "check_failures": 0,
            }
            async with self._database.transaction() as session:
                await self._change(session, held, values)
                await writing.keep(session)
        _apply(held, values)

    async def _start(self, held: Held) -> _Taken:
        upload = held.upload
        whole_parts = (upload.offset_bytes - upload.tail_bytes) // part_bytes_for(upload.size_bytes)
        rest = bytearray()
        if upload.tail_key is not None:
            try:
                rest += await self._read(upload.tail_key)
            except ObjectMissing:
                await self._forget_tail(held)
                raise OffsetConflict(offset_bytes=held.upload.offset_bytes) from None
        return _Taken(offset=upload.offset_bytes, rest=rest, next_number=whole_parts + 1)

    async def _add(self, held: Held, taken: _Taken, block: bytes, *, is_noted_at_once: bool) -> None:
        upload = held.upload
        if taken.offset + len(block) > upload.size_bytes:
            raise PayloadTooLarge(
                f"More bytes came than the {upload.size_bytes} that were announced for the file.",
                next_step="Announce the file as it is now, then upload it.",
            )
        taken.rest += block
        taken.offset += len(block)
        part_bytes = part_bytes_for(upload.size_bytes)
        while len(taken.rest) >= part_bytes:
            await self._put_part(held, taken, part_bytes)
            if is_noted_at_once:
                await self._note(held, taken.offset - len(taken.rest), parts=taken.parts)
                taken.parts = []

    async def _keep_all(self, held: Held, taken: _Taken) -> None:
        upload = held.upload
        if taken.offset == upload.size_bytes and upload.state == UploadState.RECEIVING:
            if taken.rest:
                await self._put_part(held, taken, len(taken.rest))
            await self._note(held, taken.offset, parts=taken.parts)
        elif taken.offset > upload.offset_bytes:
            await self._put_tail(held, taken)

    async def _put_part(self, held: Held, taken: _Taken, size_bytes: int) -> None:
        upload = held.upload
        assert upload.object_key is not None  # noqa: S101 - `_begin` has set both
        assert upload.store_upload is not None  # noqa: S101
        data = bytes(memoryview(taken.rest)[:size_bytes])
        part = await self._store.put_part(
            upload.object_key, upload=upload.store_upload, number=taken.next_number, data=data
        )
        del taken.rest[:size_bytes]
        taken.parts.append(part)
        taken.next_number += 1

    async def _put_tail(self, held: Held, taken: _Taken) -> None:
        if not taken.rest:
            await self._note(held, taken.offset, parts=taken.parts)
            return
        key = f"uploads/{held.upload.id}/{new_identifier('tail')}"
        async with self._writer.writing(key=key, purpose=f"upload:{held.upload.id}") as writing:
            await writing.store(_one(bytes(taken.rest)), size_hint=len(taken.rest))
            await self._note(held, taken.offset, parts=taken.parts, tail=writing, tail_bytes=len(taken.rest))

    async def _note(
        self,
        held: Held,
        offset: int,
        *,
        parts: Sequence[StoredPart],
        tail: ObjectWriting | None = None,
        tail_bytes: int = 0,
    ) -> None:
        """What the store has now. A part or a tail always takes in the tail that was there."""
        upload = held.upload
        old_tail = upload.tail_key
        values = {
            "offset_bytes": offset,
            "tail_key": tail.key if tail else None,
            "tail_bytes": tail_bytes,
            "expires_at": self._clock.now() + self._lifetime,
        }
        if offset == upload.size_bytes:
            values |= {"state": UploadState.CHECKING, "held_by": None, "held_until": None}
        async with self._database.transaction() as session:
            if offset == upload.size_bytes:
                # Before the upload's own row, as everywhere: two orders would end in a deadlock.
                await self._versions.begin_check(session, upload.dataset_version_id)
            await self._change(session, held, values)
            await self._uploads.put_parts(session, upload.id, parts)
            if tail is not None:
                await tail.keep(session)
            if old_tail is not None:
                await self._writer.give_up(session, old_tail)
        _apply(held, values)
        if old_tail is not None:
            await self._writer.discard(old_tail)

    async def _forget_tail(self, held: Held) -> None:
        upload = held.upload
        values = {"offset_bytes": upload.offset_bytes - upload.tail_bytes, "tail_key": None, "tail_bytes": 0}
        async with self._database.transaction() as session:
            await self._change(session, held, values)
        _apply(held, values)

    async def _change(self, session: AsyncSession, held: Held, values: Mapping[str, object]) -> None:
        is_changed = await self._uploads.change(
            session, held.upload.id, states=TAKES_BYTES, values=values, holder=held.holder
        )
        if not is_changed:
            raise WriteInProgress

    async def _read(self, key: str) -> bytes:
        reader = await self._store.open(key)
        content = bytearray()
        try:
            while block := await reader.read():
                content += block
        finally:
            await reader.close()
        return bytes(content)


def _apply(held: Held, values: Mapping[str, object]) -> None:
    for name, value in values.items():
        setattr(held.upload, name, value)


async def _one(block: bytes) -> AsyncIterator[bytes]:
    yield block

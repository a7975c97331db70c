"""Beginning an upload by parts, and taking parts in."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy.ext.asyncio import AsyncSession

from stoker_dataset_gateway.artifact_uploads.repository import ArtifactUploadRepository
from stoker_dataset_gateway.artifact_uploads.schemas import BeginUpload, PartStored, UploadBegun
from stoker_dataset_gateway.artifact_uploads.tables import ArtifactPart, ArtifactUpload
from stoker_dataset_gateway.artifacts.names import checked_name
from stoker_dataset_gateway.artifacts.recording import ArtifactRecorder
from stoker_dataset_gateway.artifacts.repository import ArtifactRepository
from stoker_dataset_gateway.artifacts.service import ArtifactService, facts_of, new_artifact, object_key
from stoker_dataset_gateway.artifacts.tables import Artifact
from stoker_dataset_gateway.errors import (
    ChecksumMismatch,
    ObjectMissing,
    PartTooSlow,
    UploadUnknown,
    WriteLost,
)
from stoker_dataset_gateway.foundation import Foundation
from stoker_dataset_gateway.tokens.tables import JobToken
from stoker_shared.errors import PayloadTooLarge, RequestInvalid
from stoker_shared.identifiers import new_identifier

LEAST_PART_BYTES = 8 * 2**20
MOST_PARTS = 9_000
PARTS_IN_MEMORY = 8
"""A part is held until its checksum was compared; more senders wait their turn."""


@dataclass(frozen=True, slots=True)
class PartRules:
    """Limits of uploads by parts. `lifetime` counts from the last part; `part_timeout` is for one part to come."""

    max_artifact_bytes: int
    lifetime: timedelta
    part_timeout: timedelta = timedelta(minutes=10)
    parts_in_memory: int = PARTS_IN_MEMORY


@dataclass(frozen=True, slots=True)
class IncomingPart:
    """What a trainer announces. `length` None: it does not say how long the body is."""

    job_id: str
    upload_id: str
    number: int
    sha256: str
    length: int | None


class ArtifactUploadService:
    """Uploads that are not whole yet. Each part is safe once it was answered, whatever dies."""

    def __init__(
        self,
        foundation: Foundation,
        *,
        artifacts: ArtifactService,
        recorder: ArtifactRecorder,
        rules: PartRules,
    ) -> None:
        self._database = foundation.database
        self._store = foundation.store
        self._writer = foundation.writer
        self._tokens = foundation.tokens
        self._clock = foundation.clock
        self._artifact_service = artifacts
        self._recorder = recorder
        self._rules = rules
        self._room = asyncio.Semaphore(rules.parts_in_memory)
        self._artifacts = ArtifactRepository()
        self._uploads = ArtifactUploadRepository()

    async def begin(self, wanted: BeginUpload, *, job_id: str, token: str) -> UploadBegun:
        """The upload of this file: a new one, or the one that was begun before, with the parts that it has.

        Other content under the name of an upload under way takes its place, and that one ends.

        Raises:
            TokenRefused, Forbidden, RequestInvalid, PayloadTooLarge, JobStorageFull.
            StoreUnavailable, StoreFull: begin again later.
        """
        attempt = await self._artifact_service.attempt_of(token, job_id)
        checked_name(wanted.name)
        if wanted.size_bytes > self._rules.max_artifact_bytes:
            raise PayloadTooLarge(
                f"The file has {wanted.size_bytes} bytes, at most {self._rules.max_artifact_bytes} are taken.",
                next_step="Split the file, or ask your operator for more.",
            )
        known = await self._known(attempt, wanted)
        return known if known is not None else await self._begin_new(attempt, wanted, token)

    async def put_part(self, part: IncomingPart, *, token: str, blocks: AsyncIterator[bytes]) -> PartStored:
        """Take one part in. The same part may come again, and in any order.

        Raises:
            TokenRefused, Forbidden, UploadUnknown, RequestInvalid: before a byte is read.
            ChecksumMismatch, UploadInterrupted, PartTooSlow, StoreUnavailable, StoreFull: this part is not stored.
        """
        upload = await self.find(part.upload_id, job_id=part.job_id, token=token)
        _refuse_wrong_length(upload, part)
        async with self._room:
            data = await self._collected(blocks, part)
            if await self._has(part):
                return PartStored(number=part.number, sha256=part.sha256)
            try:
                stored = await self._store.put_part(
                    upload.object_key, upload=upload.store_upload, number=part.number, data=data
                )
            except ObjectMissing:
                raise UploadUnknown(part.upload_id) from None
        await self._note(
            upload, token, ArtifactPart(upload_id=upload.id, number=part.number, sha256=part.sha256, etag=stored.etag)
        )
        return PartStored(number=part.number, sha256=part.sha256)

    async def find(self, upload_id: str, *, job_id: str, token: str) -> ArtifactUpload:
        """An upload of the bearer's attempt.

        Raises:
            TokenRefused, Forbidden, UploadUnknown.
        """
        attempt = await self._artifact_service.attempt_of(token, job_id)
        async with self._database.transaction() as session:
            upload = await self._uploads.of_attempt(session, upload_id, job_id=job_id, attempt=attempt.attempt)
        if upload is None:
            raise UploadUnknown(upload_id)
        return upload

    async def _known(self, attempt: JobToken, wanted: BeginUpload) -> UploadBegun | None:
        async with self._database.transaction() as session:
            stored = await self._artifacts.named(
                session, job_id=attempt.job_id, attempt=attempt.attempt, name=wanted.name
            )
            if stored is not None and stored.sha256 == wanted.sha256:
                return _already_stored(stored)
            upload = await self._uploads.receiving(
                session, job_id=attempt.job_id, attempt=attempt.attempt, name=wanted.name
            )
            if upload is not None and _is_of(upload, wanted):
                return await self._told(session, upload)
            ended = upload.id if upload is not None else None
            await self._recorder.ensure_room(session, self._announced(attempt, wanted), beside_upload=ended)
        return None

    async def _begin_new(self, attempt: JobToken, wanted: BeginUpload, token: str) -> UploadBegun:
        key = object_key(attempt, wanted.name)
        try:
            upload = await self._opened(attempt, wanted, key)
            begun, ended_key = await self._admit(upload, wanted, token)
        except BaseException:
            await self._writer.discard(key)
            raise
        if begun.upload_id != upload.id:  # somebody else was first
            await self._writer.discard(key)
        if ended_key is not None:
            await self._writer.discard(ended_key)
        return begun

    async def _opened(self, attempt: JobToken, wanted: BeginUpload, key: str) -> ArtifactUpload:
        """An upload that the store knows of; what it leaves there is swept unless it gets its row in time."""
        purpose = f"parts:{attempt.job_id}:{attempt.attempt}:{wanted.name}"
        await self._writer.open_write(key=key, purpose=purpose, lifetime=self._rules.lifetime)
        return ArtifactUpload(
            id=new_identifier("parts"),
            job_id=attempt.job_id,
            attempt=attempt.attempt,
            name=wanted.name,
            state="receiving",
            sha256=wanted.sha256,
            size_bytes=wanted.size_bytes,
            part_bytes=part_bytes_for(wanted.size_bytes),
            object_key=key,
            store_upload=await self._store.begin_parts(key),
            touched_at=self._clock.now(),
        )

    async def _admit(self, upload: ArtifactUpload, wanted: BeginUpload, token: str) -> tuple[UploadBegun, str | None]:
        """Give the upload its row; returns the key of the one that it ends, too."""
        async with self._database.transaction() as session:
            attempt = await self._tokens.hold_attempt(session, token)
            await self._recorder.hold_job(session, attempt.job_id)
            before = await self._uploads.receiving(
                session, job_id=upload.job_id, attempt=upload.attempt, name=upload.name
            )
            if before is not None and _is_of(before, wanted):
                return await self._told(session, before), None
            if before is not None:
                await self._uploads.forget(session, before.id)
                await self._writer.condemn(session, before.object_key)
            await self._recorder.ensure_room(session, self._announced(attempt, wanted))
            await self._uploads.add(session, upload)
            return await self._told(session, upload), before.object_key if before is not None else None

    async def _told(self, session: AsyncSession, upload: ArtifactUpload) -> UploadBegun:
        parts = await self._uploads.parts(session, upload.id)
        return UploadBegun(
            upload_id=upload.id,
            part_bytes=upload.part_bytes,
            part_count=upload.part_count,
            parts_stored=[part.number for part in parts],
        )

    def _announced(self, attempt: JobToken, wanted: BeginUpload) -> Artifact:
        return new_artifact(
            attempt,
            name=wanted.name,
            sha256=wanted.sha256,
            size_bytes=wanted.size_bytes,
            key="",
            now=self._clock.now(),
        )

    async def _collected(self, blocks: AsyncIterator[bytes], part: IncomingPart) -> bytes:
        held = bytearray()
        try:
            async with asyncio.timeout(self._rules.part_timeout.total_seconds()):
                async for block in blocks:
                    held += block
        except TimeoutError as error:
            raise PartTooSlow(part.number, limit=self._rules.part_timeout) from error
        data = bytes(held)
        found = await asyncio.to_thread(_sha256, data)
        if found != part.sha256:
            raise ChecksumMismatch(announced=f"SHA-256 {part.sha256}", received=f"SHA-256 {found}")
        return data

    async def _has(self, part: IncomingPart) -> bool:
        async with self._database.transaction() as session:
            found = await self._uploads.part(session, part.upload_id, part.number)
        return found is not None and found.sha256 == part.sha256

    async def _note(self, upload: ArtifactUpload, token: str, part: ArtifactPart) -> None:
        try:
            async with self._database.transaction() as session:
                await self._tokens.hold_attempt(session, token)
                if not await self._uploads.touch(session, upload.id, now=self._clock.now()):
                    raise UploadUnknown(upload.id)
                await self._uploads.put_part(session, part)
                await self._writer.extend(session, upload.object_key, lifetime=self._rules.lifetime)
        except WriteLost as error:
            raise UploadUnknown(upload.id) from error


def part_bytes_for(size_bytes: int) -> int:
    """So large that the store takes all parts of the file, and not smaller than what S3 wants."""
    return max(LEAST_PART_BYTES, -(-size_bytes // MOST_PARTS))


def _is_of(upload: ArtifactUpload, wanted: BeginUpload) -> bool:
    return (upload.sha256, upload.size_bytes) == (wanted.sha256, wanted.size_bytes)


def _already_stored(artifact: Artifact) -> UploadBegun:
    part_bytes = part_bytes_for(artifact.size_bytes)
    return UploadBegun(
        part_bytes=part_bytes, part_count=-(-artifact.size_bytes // part_bytes), artifact=facts_of(artifact)
    )


def _refuse_wrong_length(upload: ArtifactUpload, part: IncomingPart) -> None:
    if not 1 <= part.number <= upload.part_count:
        fault = f"must be from 1 to {upload.part_count}"
        raise RequestInvalid(
            f"The number of the part {fault}.", next_step="Look at `part_count`.", fields={"number": fault}
        )
    wanted = upload.size_of_part(part.number)
    if part.length != wanted:
        fault = f"must be {wanted} for part {part.number} of {upload.part_count}"
        raise RequestInvalid(
            f"Content-Length {fault}.", next_step="Cut the file at `part_bytes`.", fields={"Content-Length": fault}
        )


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()

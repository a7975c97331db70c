"""Making the parts one object, reading it back, and giving it its row."""

import asyncio
import hashlib
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial

from anyio import CapacityLimiter, to_thread

from stoker_dataset_gateway.artifact_uploads.repository import ArtifactUploadRepository
from stoker_dataset_gateway.artifact_uploads.schemas import UploadChecked
from stoker_dataset_gateway.artifact_uploads.service import ArtifactUploadService
from stoker_dataset_gateway.artifact_uploads.tables import ArtifactPart, ArtifactUpload
from stoker_dataset_gateway.artifacts.recording import ArtifactRecorder
from stoker_dataset_gateway.artifacts.repository import ArtifactRepository
from stoker_dataset_gateway.artifacts.service import ArtifactService, facts_of, new_artifact
from stoker_dataset_gateway.artifacts.tables import Artifact
from stoker_dataset_gateway.errors import (
    ObjectMissing,
    PartsMissing,
    TokenRefused,
    UploadUnknown,
    WholeDiffers,
    WriteLost,
)
from stoker_dataset_gateway.foundation import Foundation
from stoker_dataset_gateway.storage import StoredPart
from stoker_shared.errors import StokerError
from stoker_shared.logging import get_logger
from stoker_shared.rpc.dataset_gateway import ArtifactFacts
from stoker_shared.tasks import end_tasks

logger = get_logger(__name__)

_CHECKS_AT_ONCE = 4


@dataclass(frozen=True, slots=True)
class CompletingRules:
    """`lease`: after this, a check whose process died is another's. `patience`: how long a request waits for one."""

    lease: timedelta
    patience: timedelta = timedelta(seconds=20)


@dataclass
class _Check:
    """A check of this process and how far it is."""

    upload: ArtifactUpload
    token: str = field(repr=False)
    checked_bytes: int = 0
    task: "asyncio.Task[tuple[Artifact, bool]] | None" = None


class UploadCompleter:
    """Completes uploads. A check outlives the request that asked for it, and may be asked about again."""

    def __init__(
        self,
        foundation: Foundation,
        *,
        uploads: ArtifactUploadService,
        artifacts: ArtifactService,
        recorder: ArtifactRecorder,
        rules: CompletingRules,
    ) -> None:
        self._database = foundation.database
        self._store = foundation.store
        self._writer = foundation.writer
        self._clock = foundation.clock
        self._upload_service = uploads
        self._artifact_service = artifacts
        self._recorder = recorder
        self._rules = rules
        self._uploads = ArtifactUploadRepository()
        self._artifacts = ArtifactRepository()
        self._running: dict[str, _Check] = {}
        self._slots = asyncio.Semaphore(_CHECKS_AT_ONCE)
        # Hashing takes threads of its own, so that it never stands in the way of reads.
        self._limiter = CapacityLimiter(_CHECKS_AT_ONCE)

    async def complete(self, upload_id: str, *, job_id: str, token: str) -> tuple[ArtifactFacts, bool] | UploadChecked:
        """The artifact and whether it is new, or how far its check is. Asking again is always right.

        Raises:
            TokenRefused, Forbidden, UploadUnknown.
            PartsMissing: send these first.
            WholeDiffers: the upload is over, and nothing is stored.
            StoreUnavailable: ask again later.
        """
        upload = await self._upload_service.find(upload_id, job_id=job_id, token=token)
        if upload.state == "stored":
            return facts_of(await self._stored(upload)), False
        check = self._running.get(upload.id) or await self._start(upload, token)
        if check is None or check.task is None:
            return UploadChecked(checked_bytes=0, size_bytes=upload.size_bytes)
        done, _ = await asyncio.wait({check.task}, timeout=self._rules.patience.total_seconds())
        if not done:
            return UploadChecked(checked_bytes=check.checked_bytes, size_bytes=upload.size_bytes)
        artifact, is_new = check.task.result()
        return facts_of(artifact), is_new

    async def close(self) -> None:
        """End the checks; they begin anew when they are asked for again."""
        await end_tasks([check.task for check in self._running.values() if check.task is not None])

    async def _stored(self, upload: ArtifactUpload) -> Artifact:
        async with self._database.transaction() as session:
            found = await self._artifacts.named(session, job_id=upload.job_id, attempt=upload.attempt, name=upload.name)
        if found is None or found.sha256 != upload.sha256:  # deleted or superseded since
            raise UploadUnknown(upload.id)
        return found

    async def _start(self, upload: ArtifactUpload, token: str) -> _Check | None:
        """A new check; None while another process is at it."""
        now = self._clock.now()
        async with self._database.transaction() as session:
            parts = await self._uploads.parts(session, upload.id)
            missing = sorted(set(range(1, upload.part_count + 1)) - {part.number for part in parts})
            if missing:
                raise PartsMissing(missing, total=upload.part_count)
            if not await self._uploads.claim_check(session, upload.id, now=now, until=now + self._rules.lease):
                return None
        check = _Check(upload, token)
        check.task = asyncio.create_task(self._check(check, parts))
        check.task.add_done_callback(partial(self._ended, upload.id))
        self._running[upload.id] = check
        return check

    def _ended(self, upload_id: str, task: "asyncio.Task[tuple[Artifact, bool]]") -> None:
        del self._running[upload_id]
        error = None if task.cancelled() else task.exception()
        if isinstance(error, StokerError):
            logger.warning("artifact upload not completed", upload_id=upload_id, reason=error.detail)
        elif error is not None:
            logger.error("artifact upload not completed", upload_id=upload_id, exc_info=error)

    async def _check(self, check: _Check, parts: list[ArtifactPart]) -> tuple[Artifact, bool]:
        try:
            async with self._slots:
                await self._verify(check, parts)
            return await self._record(check)
        except (UploadUnknown, WholeDiffers, TokenRefused, WriteLost):
            await self._give_up(check.upload)
            raise
        except StokerError:
            async with self._database.transaction() as session:
                await self._uploads.end_check(session, check.upload.id)
            raise

    async def _verify(self, check: _Check, parts: list[ArtifactPart]) -> None:
        upload = check.upload
        try:
            await self._assemble(upload, parts)
            received = await self._read_back(check)
            if received != upload.sha256:
                differing = [part.number for part in parts if not await self._is_as_sent(upload, part)]
                raise WholeDiffers(announced=upload.sha256, received=received, parts=differing)
        except ObjectMissing:
            raise UploadUnknown(upload.id) from None

    async def _assemble(self, upload: ArtifactUpload, parts: list[ArtifactPart]) -> None:
        stored = [StoredPart(part.number, part.etag) for part in parts]
        try:
            await self._store.complete_parts(upload.object_key, upload=upload.store_upload, parts=stored)
        except ObjectMissing:
            # A process that died after this step has done it already, if the object is there.
            await self._store.size_of(upload.object_key)

    async def _read_back(self, check: _Check) -> str:
        digest, renewed_at = hashlib.sha256(), self._clock.now()
        reader = await self._store.open(check.upload.object_key)
        try:
            while block := await reader.read():
                await to_thread.run_sync(digest.update, block, limiter=self._limiter)
                check.checked_bytes += len(block)
                if self._clock.now() - renewed_at > self._rules.lease / 3:
                    await self._renew(check.upload)
                    renewed_at = self._clock.now()
        finally:
            await reader.close()
        return digest.hexdigest()

    async def _renew(self, upload: ArtifactUpload) -> None:
        now = self._clock.now()
        async with self._database.transaction() as session:
            if not await self._uploads.claim_check(
                session, upload.id, now=now, until=now + self._rules.lease, is_renewal=True
            ):
                raise WriteLost

    async def _is_as_sent(self, upload: ArtifactUpload, part: ArtifactPart) -> bool:
        offset, length = (part.number - 1) * upload.part_bytes, upload.size_of_part(part.number)
        reader = await self._store.open(upload.object_key, offset=offset, length=length)
        digest = hashlib.sha256()
        try:
            while block := await reader.read():
                await to_thread.run_sync(digest.update, block, limiter=self._limiter)
        finally:
            await reader.close()
        return digest.hexdigest() == part.sha256

    async def _record(self, check: _Check) -> tuple[Artifact, bool]:
        upload = check.upload
        attempt = await self._artifact_service.attempt_of(check.token, upload.job_id)
        artifact = new_artifact(
            attempt,
            name=upload.name,
            sha256=upload.sha256,
            size_bytes=upload.size_bytes,
            key=upload.object_key,
            now=self._clock.now(),
        )
        recorded, is_new = await self._recorder.record(artifact, check.token, upload_id=upload.id)
        if not is_new:
            await self._writer.discard(upload.object_key)
        return recorded, is_new

    async def _give_up(self, upload: ArtifactUpload) -> None:
        async with self._database.transaction() as session:
            await self._uploads.forget(session, upload.id)
            await self._writer.condemn(session, upload.object_key)
        await self._writer.discard(upload.object_key)

"""The rows of artifacts: giving one to an object that has come in whole, and taking it away."""

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any
from uuid import uuid4

from sqlalchemy.ext.asyncio import AsyncSession

from stoker_dataset_gateway.artifact_uploads.repository import ArtifactUploadRepository
from stoker_dataset_gateway.artifacts.repository import ArtifactRepository
from stoker_dataset_gateway.artifacts.tables import Artifact
from stoker_dataset_gateway.errors import JobStorageFull, WriteLost
from stoker_dataset_gateway.foundation import Foundation
from stoker_dataset_gateway.locks import hold_lock
from stoker_shared.events import ArtifactDeleted, ArtifactDeletion, ArtifactStored
from stoker_shared.outbox import enqueue

# Far more than one attempt keeps at a time, few enough for one transaction.
DELETE_AT_ONCE = 200


class ArtifactRecorder:
    """The one place where artifacts get and lose their rows, so that limits and events hold for every way in."""

    def __init__(
        self,
        foundation: Foundation,
        *,
        max_job_bytes: int,
        wake_relay: Callable[[], None],
    ) -> None:
        self._database = foundation.database
        self._writer = foundation.writer
        self._tokens = foundation.tokens
        self._clock = foundation.clock
        self._max_job_bytes = max_job_bytes
        self._wake_relay = wake_relay
        self._artifacts = ArtifactRepository()
        self._uploads = ArtifactUploadRepository()

    async def record(self, artifact: Artifact, token: str, *, upload_id: str | None = None) -> tuple[Artifact, bool]:
        """Give the object that was written under `artifact.object_key` its row; tells whether it is new.

        The same name with the same content counts as stored: then the object is not kept, and the caller discards it.
        Other content takes the earlier one's place.

        Raises:
            TokenRefused: the attempt ended while the bytes came.
            JobStorageFull, WriteLost.
        """
        replaced_key = None
        async with self._database.transaction() as session:
            attempt = await self._tokens.hold_attempt(session, token)
            await self.hold_job(session, attempt.job_id)
            if upload_id is not None and not await self._uploads.mark_stored(session, upload_id, now=self._clock.now()):
                raise WriteLost
            before = await self._artifacts.named(
                session, job_id=artifact.job_id, attempt=artifact.attempt, name=artifact.name
            )
            if before is not None and before.sha256 == artifact.sha256:
                return before, False
            await self.ensure_room(session, artifact, beside_upload=upload_id)
            if before is not None:
                artifact.id, replaced_key = before.id, before.object_key
                await self._writer.give_up(session, replaced_key)
            await self._artifacts.put(session, artifact)
            await self._writer.keep_object(session, artifact.object_key)
            await self._tell_stored(session, artifact)
        self._wake_relay()
        if replaced_key is not None:
            await self._writer.discard(replaced_key)
        return artifact, True

    async def hold_job(self, session: AsyncSession, job_id: str) -> None:
        """Until this transaction ends nobody else counts or changes what the job has stored."""
        await hold_lock(session, f"artifacts:{job_id}")

    async def ensure_room(self, session: AsyncSession, artifact: Artifact, *, beside_upload: str | None = None) -> None:
        """See whether the job may have this file, too. What has its name and attempt makes room for it.

        Raises:
            JobStorageFull.
        """
        stored = await self._artifacts.stored_bytes(session, artifact)
        reserved = await self._uploads.reserved_bytes(session, artifact.job_id, beside=beside_upload)
        if stored + reserved + artifact.size_bytes > self._max_job_bytes:
            raise JobStorageFull(
                used_bytes=stored + reserved, limit_bytes=self._max_job_bytes, wanted_bytes=artifact.size_bytes
            )

    async def remove(self, artifacts: Sequence[Artifact], *, why: ArtifactDeletion) -> int:
        """Take these out of every list, at once, and then out of the store. Returns how many were still there.

        What cannot be deleted from the store now has been noted, and is deleted by a later sweep.
        """
        removed = list(artifacts)[:DELETE_AT_ONCE]
        async with self._database.transaction() as session:
            for job_id in sorted({artifact.job_id for artifact in removed}):
                await self.hold_job(session, job_id)
            # What was superseded meanwhile has another object, and stays.
            gone = await self._artifacts.delete(session, [artifact.object_key for artifact in removed])
            for artifact in gone:
                await self._writer.give_up(session, artifact.object_key)
                await self._tell_deleted(session, artifact, why)
        self._wake_relay()
        for artifact in gone:
            await self._writer.discard(artifact.object_key)
        return len(gone)

    async def abandon_uploads(self, *, lifetime: timedelta, keep_stored: timedelta) -> int:
        """End uploads that nobody has touched for `lifetime`, or whose attempt is over. Returns how many."""
        now = self._clock.now()
        async with self._database.transaction() as session:
            keys = await self._uploads.end_abandoned(session, touched_before=now - lifetime)
            for key in keys:
                await self._writer.condemn(session, key)
            await self._uploads.sweep_stored(session, touched_before=now - keep_stored)
        for key in keys:
            await self._writer.discard(key)
        return len(keys)

    async def _tell_stored(self, session: AsyncSession, artifact: Artifact) -> None:
        await enqueue(session, ArtifactStored(**await self._facts_of_event(session, artifact)))

    async def _tell_deleted(self, session: AsyncSession, artifact: Artifact, why: ArtifactDeletion) -> None:
        await enqueue(session, ArtifactDeleted(**await self._facts_of_event(session, artifact), why=why))

    async def _facts_of_event(self, session: AsyncSession, artifact: Artifact) -> dict[str, Any]:
        return {
            "event_id": uuid4(),
            "occurred_at": self._clock.now(),
            "sequence": await self._artifacts.next_sequence(session, artifact.job_id),
            "job_id": artifact.job_id,
            "attempt": artifact.attempt,
            "artifact_id": artifact.id,
            "name": artifact.name,
            "sha256": artifact.sha256,
            "size_bytes": artifact.size_bytes,
        }

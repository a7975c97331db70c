"""How an upload ends: its version stored or rejected, or its bytes let go of."""

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import Any
from uuid import uuid4

from sqlalchemy.ext.asyncio import AsyncSession

from stoker_dataset_gateway.checking import CheckResult
from stoker_dataset_gateway.datasets.repository import DatasetRepository
from stoker_dataset_gateway.datasets.schemas import report_of
from stoker_dataset_gateway.datasets.tables import DatasetVersion
from stoker_dataset_gateway.errors import WriteLost
from stoker_dataset_gateway.uploads.remains import NOTHING_THERE, Remains
from stoker_dataset_gateway.uploads.repository import UploadRepository
from stoker_dataset_gateway.uploads.tables import TAKES_BYTES, UNFINISHED, Upload, UploadState
from stoker_shared.clock import Clock
from stoker_shared.database import Database
from stoker_shared.errors import UserError
from stoker_shared.events import DatasetVersionRejected, DatasetVersionStored
from stoker_shared.outbox import enqueue

_EXPIRED_AT_ONCE = 100


class News:
    """Wakes who waits for a verdict. A hint: other replicas decide, too, so waiting must end by itself."""

    def __init__(self) -> None:
        self._next = asyncio.Event()

    def tell(self) -> None:
        """Something was decided."""
        self._next.set()
        self._next = asyncio.Event()

    async def wait(self, *, seconds: float) -> None:
        """Until the next decision of this process, or for so long."""
        waiting = asyncio.ensure_future(self._next.wait())
        try:
            await asyncio.wait({waiting}, timeout=seconds)
        finally:
            waiting.cancel()


class Verdicts:
    """Ends uploads, each in one transaction. Versions are locked before uploads, here as everywhere."""

    def __init__(
        self, database: Database, remains: Remains, *, clock: Clock, wake_relay: Callable[[], None], news: News
    ) -> None:
        self._database = database
        self._remains = remains
        self._clock = clock
        self._wake_relay = wake_relay
        self._news = news
        self._uploads = UploadRepository()
        self._versions = DatasetRepository()

    async def decide(self, upload: Upload, result: CheckResult, *, holder: str) -> str:
        """The check has ended: store or reject the version, unless another upload of it was decided before.

        Returns the state of the version. Nothing is told of a version that was decided before.

        Raises:
            WriteLost: the upload is no longer this holder's.
        """
        wanted = UploadState.REJECTED if result.faults_total else UploadState.STORED
        values = {
            "name": upload.name,
            "filename": upload.filename,
            "size_bytes": upload.size_bytes,
            "report": report_of(result),
            "object_key": upload.object_key if wanted == UploadState.STORED else None,
        }
        now = self._clock.now()
        async with self._database.transaction() as session:
            version = await self._versions.decide(
                session, upload.dataset_version_id, state=wanted, now=now, values=values
            )
            if version is not None:
                await enqueue(session, _event(version, result, now=now))
            state = version.state if version else await self._state_of(session, upload.dataset_version_id)
            is_kept = version is not None and wanted == UploadState.STORED
            keys = await self._end(session, upload, state, holder=holder, is_object_kept=is_kept)
        self._wake_relay()
        await self._remains.delete(keys)
        self._news.tell()
        return state

    async def fail(self, upload: Upload, fault: UserError, *, holder: str) -> None:
        """The bytes are not what they should be: nothing is stored, they may be sent again.

        Raises:
            WriteLost: the upload is no longer this holder's.
        """
        async with self._database.transaction() as session:
            await self._versions.end_check(session, upload.dataset_version_id, upload_id=upload.id)
            keys = await self._end(
                session, upload, UploadState.FAILED, holder=holder, is_object_kept=False, problem=_problem(fault)
            )
        await self._remains.delete(keys)
        self._news.tell()

    async def give_up(self, upload: Upload) -> bool:
        """Its sender wants it no more. False if it was decided before."""
        async with self._database.transaction() as session:
            await self._versions.end_check(session, upload.dataset_version_id, upload_id=upload.id)
            values = {**NOTHING_THERE, "state": UploadState.GIVEN_UP}
            # As it is now, locked: a sender may have added to it since it was read.
            present = await self._uploads.locked(session, upload.id)
            if present is None or present.state not in UNFINISHED:
                return False
            keys = await self._remains.let_go(session, present)
            await self._uploads.change(session, upload.id, states=UNFINISHED, values=values)
        await self._remains.delete(keys)
        self._news.tell()
        return True

    async def expire(self) -> int:
        """End uploads that have run out. Returns how many."""
        keys: list[str] = []
        async with self._database.transaction() as session:
            expired = await self._uploads.expired(session, now=self._clock.now(), limit=_EXPIRED_AT_ONCE)
            for upload in expired:
                keys += await self._remains.let_go(session, upload)
                values = {**NOTHING_THERE, "state": UploadState.EXPIRED}
                await self._uploads.change(session, upload.id, states=TAKES_BYTES, values=values)
        await self._remains.delete(keys)
        return len(expired)

    async def _state_of(self, session: AsyncSession, version_id: str) -> str:
        version = await self._versions.get(session, version_id)
        assert version is not None  # noqa: S101 - its uploads go with it
        return version.state

    async def _end(
        self,
        session: AsyncSession,
        upload: Upload,
        state: str,
        *,
        holder: str,
        is_object_kept: bool,
        problem: dict[str, Any] | None = None,
    ) -> list[str]:
        if is_object_kept:
            upload = upload.model_copy(update={"object_key": None})
        keys = await self._remains.let_go(session, upload)
        values = {**NOTHING_THERE, "state": state, "problem": problem}
        if state != UploadState.FAILED:
            values |= {"offset_bytes": upload.size_bytes, "checked_bytes": upload.size_bytes}
        if not await self._uploads.change(
            session, upload.id, states=(UploadState.CHECKING,), values=values, holder=holder
        ):
            raise WriteLost
        return keys


def _event(
    version: DatasetVersion, result: CheckResult, *, now: datetime
) -> DatasetVersionStored | DatasetVersionRejected:
    fields: dict[str, Any] = {
        "event_id": uuid4(),
        "occurred_at": now,
        "sequence": version.event_sequence,
        "dataset_version_id": version.id,
        "owner": version.owner,
    }
    if version.state == UploadState.REJECTED:
        return DatasetVersionRejected(**fields, faults=result.faults_total)
    return DatasetVersionStored(
        **fields, sha256=version.sha256, size_bytes=version.size_bytes, rows=result.statistics.rows
    )


def _problem(fault: UserError) -> dict[str, Any]:
    return {
        "code": fault.code,
        "status": fault.status,
        "title": fault.title,
        "detail": fault.detail,
        "next_step": fault.next_step,
    }

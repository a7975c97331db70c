"""From a ticket to a stored or rejected dataset version."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import PurePosixPath
from typing import Any
from uuid import uuid4

from anyio import CapacityLimiter
from sqlalchemy.ext.asyncio import AsyncSession

from stoker_dataset_gateway.checking import CheckLimits, CheckResult, FileCheck, name_fault
from stoker_dataset_gateway.datasets.repository import DatasetRepository
from stoker_dataset_gateway.datasets.schemas import facts_of, report_of
from stoker_dataset_gateway.datasets.tables import DatasetVersion
from stoker_dataset_gateway.errors import (
    AlreadyStored,
    ChecksumMismatch,
    DatasetRejected,
    FormatUnsupported,
    TokenRefused,
    WriteLost,
)
from stoker_dataset_gateway.objects.service import ObjectWriter, ObjectWriting
from stoker_dataset_gateway.uploads.inspection import Inspection, RowsFaulty
from stoker_dataset_gateway.uploads.repository import UploadRepository
from stoker_dataset_gateway.uploads.tables import Upload
from stoker_shared.clock import Clock
from stoker_shared.database import Database
from stoker_shared.errors import PayloadTooLarge, RequestInvalid
from stoker_shared.events import DatasetVersionRejected, DatasetVersionStored
from stoker_shared.identifiers import new_identifier
from stoker_shared.outbox import enqueue
from stoker_shared.rpc.dataset_gateway import DatasetFacts, OpenUpload, UploadOpened
from stoker_shared.tokens import hashes_equal, mint_token, token_hash

_CHECKS_AT_ONCE = 4


@dataclass(frozen=True, slots=True)
class UploadRules:
    """What uploads may be and how long a ticket is good."""

    public_url: str
    max_upload_bytes: int
    lifetime: timedelta
    check: CheckLimits


class UploadService:
    """Opens uploads and receives their bytes."""

    def __init__(
        self,
        database: Database,
        writer: ObjectWriter,
        *,
        clock: Clock,
        rules: UploadRules,
        wake_relay: Callable[[], None],
    ) -> None:
        self._database = database
        self._writer = writer
        self._clock = clock
        self._rules = rules
        self._wake_relay = wake_relay
        self._uploads = UploadRepository()
        self._versions = DatasetRepository()
        self._check_limiter = CapacityLimiter(_CHECKS_AT_ONCE)

    async def open(self, request: OpenUpload) -> UploadOpened:
        """A ticket for this content, unless the owner has it stored already.

        Raises:
            FormatUnsupported, PayloadTooLarge, RequestInvalid: known before a byte is sent.
        """
        self._refuse_early(request)
        token = mint_token()
        now = self._clock.now()
        async with self._database.transaction() as session:
            version = await self._versions.obtain(session, _new_version(request, now=now))
            if version.state == "stored":
                return UploadOpened(dataset_version_id=version.id, already_stored=True)
            upload = Upload(
                id=new_identifier("upload"),
                dataset_version_id=version.id,
                token_hash=token_hash(token),
                name=request.name,
                filename=request.filename,
                size_bytes=request.size_bytes,
                created_at=now,
                expires_at=now + self._rules.lifetime,
            )
            await self._uploads.add(session, upload)
        return UploadOpened(
            dataset_version_id=version.id,
            already_stored=False,
            upload_url=f"{self._rules.public_url}/v1/uploads/{upload.id}",
            upload_token=token.get_secret_value(),
            expires_at=upload.expires_at,
        )

    async def receive(
        self, upload_id: str, *, token: str, announced_bytes: int | None, blocks: AsyncIterator[bytes]
    ) -> DatasetFacts:
        """Take the bytes in: hash, check and store them as they come.

        Raises:
            TokenRefused, AlreadyStored, WriteInProgress: before a byte is read.
            ChecksumMismatch: not the announced content; nothing stored, it can be sent again.
            DatasetRejected: the rows have faults; nothing stored, the version is rejected for good.
            UploadInterrupted, StoreUnavailable, StoreFull: nothing stored, it can be sent again.
        """
        upload, version = await self._admit(upload_id, token)
        if announced_bytes is not None and announced_bytes != upload.size_bytes:
            raise ChecksumMismatch(announced=f"{upload.size_bytes} bytes", received=f"{announced_bytes} bytes")
        inspection = Inspection(
            FileCheck(upload.filename, limits=self._rules.check),
            sha256=version.sha256,
            size_bytes=upload.size_bytes,
            limiter=self._check_limiter,
        )
        try:
            async with self._writer.writing(
                key=f"datasets/{version.id}/{new_identifier('object')}",
                purpose=f"dataset:{version.id}",
                is_exclusive=True,
            ) as writing:
                await writing.store(inspection.pass_on(blocks), size_hint=upload.size_bytes)
                return await self._stored(upload, writing, result=inspection.result)
        except RowsFaulty as faulty:
            raise DatasetRejected(await self._rejected(upload, faulty.result)) from None

    def _refuse_early(self, request: OpenUpload) -> None:
        if request.filename != PurePosixPath(request.filename).name or not _is_plain_name(request.filename):
            text = "must be a plain file name without slashes and control characters"
            raise RequestInvalid(
                f"filename {text}.", next_step="Send the last part of the path.", fields={"filename": text}
            )
        fault = name_fault(request.filename)
        if fault is not None:
            raise FormatUnsupported(
                f"{request.filename}: {fault.message}", next_step="Convert the file, then upload it."
            )
        if request.size_bytes > self._rules.max_upload_bytes:
            raise PayloadTooLarge(
                f"The file has {request.size_bytes} bytes, at most {self._rules.max_upload_bytes} are taken.",
                next_step="Split the file, compress it with gzip, or ask your operator for more.",
            )

    async def _admit(self, upload_id: str, token: str) -> tuple[Upload, DatasetVersion]:
        async with self._database.transaction() as session:
            upload = await self._uploads.get(session, upload_id)
            version = await self._versions.get(session, upload.dataset_version_id) if upload else None
        if upload is None or version is None or not hashes_equal(upload.token_hash, token_hash(token)):
            raise TokenRefused(next_step="Ask for a new upload with POST /v1/datasets.")
        # A client that lost the answer and sends again learns how it ended, whether or not its token still lives.
        if version.state == "stored":
            raise AlreadyStored(facts_of(version))
        if version.state == "rejected":
            raise DatasetRejected(facts_of(version))
        if upload.expires_at <= self._clock.now():
            raise TokenRefused(next_step="Ask for a new upload with POST /v1/datasets.")
        return upload, version

    async def _stored(self, upload: Upload, writing: ObjectWriting, *, result: CheckResult | None) -> DatasetFacts:
        assert result is not None  # noqa: S101 - the store takes an object only after its last block
        async with self._database.transaction() as session:
            version = await self._decided(session, upload, result, state="stored", object_key=writing.key)
            await writing.keep(session)
            event = DatasetVersionStored(
                **_event_fields(version),
                sha256=version.sha256,
                size_bytes=version.size_bytes,
                rows=result.statistics.rows,
            )
            await enqueue(session, event)
        self._wake_relay()
        return facts_of(version)

    async def _rejected(self, upload: Upload, result: CheckResult) -> DatasetFacts:
        async with self._database.transaction() as session:
            version = await self._decided(session, upload, result, state="rejected", object_key=None)
            await enqueue(session, DatasetVersionRejected(**_event_fields(version), faults=result.faults_total))
        self._wake_relay()
        return facts_of(version)

    async def _decided(
        self, session: AsyncSession, upload: Upload, result: CheckResult, *, state: str, object_key: str | None
    ) -> DatasetVersion:
        values = {
            "name": upload.name,
            "filename": upload.filename,
            "size_bytes": upload.size_bytes,
            "report": report_of(result),
            "object_key": object_key,
        }
        version = await self._versions.decide(
            session, upload.dataset_version_id, state=state, now=self._clock.now(), values=values
        )
        if version is None:
            raise WriteLost
        return version


def _new_version(request: OpenUpload, *, now: datetime) -> DatasetVersion:
    return DatasetVersion(
        id=new_identifier("dataset"),
        owner=request.owner,
        name=request.name,
        filename=request.filename,
        state="uploading",
        sha256=request.sha256,
        size_bytes=request.size_bytes,
        created_at=now,
    )


def _event_fields(version: DatasetVersion) -> dict[str, Any]:
    return {
        "event_id": uuid4(),
        "occurred_at": version.decided_at,
        "sequence": version.event_sequence,
        "dataset_version_id": version.id,
        "owner": version.owner,
    }


def _is_plain_name(filename: str) -> bool:
    return filename.isprintable() and "\\" not in filename

"""From a ticket to bytes that are all there, and what became of them."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import PurePosixPath

from stoker_dataset_gateway.checking import name_fault
from stoker_dataset_gateway.datasets.repository import DatasetRepository
from stoker_dataset_gateway.datasets.schemas import facts_of
from stoker_dataset_gateway.datasets.tables import DatasetVersion
from stoker_dataset_gateway.errors import (
    AlreadyStored,
    ChecksumMismatch,
    DatasetRejected,
    FormatUnsupported,
    OffsetConflict,
    TokenRefused,
    UploadDecided,
    UploadGone,
)
from stoker_dataset_gateway.uploads.holding import Held, Holding
from stoker_dataset_gateway.uploads.receiving import Receiver
from stoker_dataset_gateway.uploads.repository import UploadRepository
from stoker_dataset_gateway.uploads.schemas import status_of
from stoker_dataset_gateway.uploads.tables import DECIDED, TAKES_BYTES, Upload, UploadState
from stoker_dataset_gateway.uploads.verdicts import News, Verdicts
from stoker_shared.clock import Clock
from stoker_shared.database import Database
from stoker_shared.errors import NotFound, PayloadTooLarge, RemoteRefusal, RequestInvalid
from stoker_shared.identifiers import new_identifier
from stoker_shared.rpc.dataset_gateway import DatasetFacts, OpenUpload, UploadOpened, UploadStatus
from stoker_shared.tokens import hashes_equal, mint_token, token_hash

_LOOK_EVERY_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class UploadRules:
    """What uploads may be, and how long after their last byte they are kept."""

    public_url: str
    max_upload_bytes: int
    lifetime: timedelta


@dataclass(frozen=True, slots=True)
class UploadDesk:
    """What the service hands the parts of its work to."""

    holding: Holding
    receiver: Receiver
    verdicts: Verdicts
    news: News
    wake_checks: Callable[[], None]


class UploadService:
    """Opens uploads, takes their bytes, and tells how far they are."""

    def __init__(self, database: Database, desk: UploadDesk, *, clock: Clock, rules: UploadRules) -> None:
        self._database = database
        self._desk = desk
        self._clock = clock
        self._rules = rules
        self._uploads = UploadRepository()
        self._versions = DatasetRepository()

    async def open(self, request: OpenUpload) -> UploadOpened:
        """A ticket for this content, unless the owner has it stored already.

        An unfinished upload of the same file is opened again with one more token: earlier tokens stay good.

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
            wanted = _new_upload(request, version, now=now, expires_at=now + self._rules.lifetime)
            upload = await self._uploads.unfinished_like(session, wanted, now=now)
            if upload is None:
                upload = wanted
                await self._uploads.add(session, upload)
            upload.expires_at = wanted.expires_at
            await self._uploads.add_token(session, upload.id, token_hash=token_hash(token))
        return UploadOpened(
            dataset_version_id=version.id,
            already_stored=False,
            upload_url=f"{self._rules.public_url}/v1/uploads/{upload.id}",
            upload_token=token.get_secret_value(),
            expires_at=upload.expires_at,
        )

    async def look(self, upload_id: str, *, token: str) -> UploadStatus:
        """How far it is.

        Raises:
            NotFound, TokenRefused, UploadGone.
        """
        return status_of(*await self._admit(upload_id, token))

    async def append(
        self,
        upload_id: str,
        *,
        token: str,
        offset: int,
        announced_bytes: int | None,
        blocks: AsyncIterator[bytes],
        body_sha256: bytes | None,
    ) -> UploadStatus:
        """Take more bytes in. With the last one the check begins; nobody waits for it here.

        Raises:
            NotFound, TokenRefused, UploadGone, OffsetConflict, WriteInProgress, PayloadTooLarge: before a byte is read.
            See `Receiver.take` for what may happen later.
        """
        upload, version = await self._admit(upload_id, token)
        if upload.state not in TAKES_BYTES:
            if offset != upload.offset_bytes or announced_bytes != 0:
                raise OffsetConflict(offset_bytes=upload.offset_bytes)
            return status_of(upload, version)
        async with self._desk.holding.held(upload_id) as held:
            if offset != held.upload.offset_bytes:
                raise OffsetConflict(offset_bytes=held.upload.offset_bytes)
            if announced_bytes is not None and offset + announced_bytes > upload.size_bytes:
                raise PayloadTooLarge(
                    f"The upload takes {upload.size_bytes - offset} more bytes, not {announced_bytes}.",
                    next_step="Announce the file as it is now, then upload it.",
                )
            await self._desk.receiver.take(held, blocks, body_sha256=body_sha256)
        self._wake_checks(held)
        return status_of(held.upload, version)

    async def receive(
        self, upload_id: str, *, token: str, announced_bytes: int | None, blocks: AsyncIterator[bytes]
    ) -> DatasetFacts:
        """Take the whole file in one go, from its beginning, and wait for the verdict.

        Raises:
            NotFound, TokenRefused, UploadGone, AlreadyStored, WriteInProgress: before a byte is read.
            ChecksumMismatch: not the announced content; nothing stored, it can be sent again.
            DatasetRejected: the rows have faults; nothing stored, the version is rejected for good.
            UploadInterrupted, StoreUnavailable, StoreFull: it can be sent again, or gone on with by `append`.
        """
        upload, version = await self._admit(upload_id, token)
        if upload.state == UploadState.STORED:
            raise AlreadyStored(facts_of(version))
        if upload.state in TAKES_BYTES:
            if announced_bytes is not None and announced_bytes != upload.size_bytes:
                raise ChecksumMismatch(announced=f"{upload.size_bytes} bytes", received=f"{announced_bytes} bytes")
            async with self._desk.holding.held(upload_id) as held:
                await self._receive_whole(held, blocks)
            self._wake_checks(held)
        return await self._verdict(upload_id, token)

    async def give_up(self, upload_id: str, *, token: str) -> None:
        """Delete what has come; the upload is gone.

        Raises:
            NotFound, TokenRefused, UploadGone.
            UploadDecided: its version is stored or rejected.
        """
        upload, _ = await self._admit(upload_id, token)
        if upload.state in DECIDED or not await self._desk.verdicts.give_up(upload):
            raise UploadDecided(upload.state)

    async def _receive_whole(self, held: Held, blocks: AsyncIterator[bytes]) -> None:
        receiver, size_bytes = self._desk.receiver, held.upload.size_bytes
        if held.upload.object_key is not None:
            await receiver.start_anew(held)
        try:
            await receiver.take(held, blocks)
        except PayloadTooLarge:
            if held.upload.state in TAKES_BYTES:
                await receiver.start_anew(held)
            raise ChecksumMismatch(announced=f"{size_bytes} bytes", received="more") from None
        if held.upload.offset_bytes < size_bytes:
            received = f"{held.upload.offset_bytes} bytes"
            await receiver.start_anew(held)
            raise ChecksumMismatch(announced=f"{size_bytes} bytes", received=received)

    async def _verdict(self, upload_id: str, token: str) -> DatasetFacts:
        while True:
            upload, version = await self._admit(upload_id, token)
            match upload.state:
                case UploadState.STORED:
                    return facts_of(version)
                case UploadState.REJECTED:
                    raise DatasetRejected(facts_of(version))
                case UploadState.FAILED if upload.problem is not None:
                    raise RemoteRefusal(**upload.problem)
                case UploadState.CHECKING:
                    await self._desk.news.wait(seconds=_LOOK_EVERY_SECONDS)
                case _:
                    raise UploadGone

    def _wake_checks(self, held: Held) -> None:
        if held.upload.state == UploadState.CHECKING:
            self._desk.wake_checks()

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
        presented = token_hash(token)
        async with self._database.transaction() as session:
            upload = await self._uploads.get(session, upload_id)
            known = await self._uploads.token(session, presented)
            version = await self._versions.get(session, upload.dataset_version_id) if upload else None
        if upload is None or version is None:
            raise NotFound("upload", upload_id, next_step="Ask for a new upload with POST /v1/datasets.")
        if known is None or known.upload_id != upload.id or not hashes_equal(known.token_hash, presented):
            raise TokenRefused(next_step="Ask for a new upload with POST /v1/datasets.")
        # A client that lost the answer learns how it ended, whether or not the upload has run out since.
        if upload.state in (UploadState.GIVEN_UP, UploadState.EXPIRED):
            raise UploadGone
        if upload.state in TAKES_BYTES and upload.expires_at <= self._clock.now():
            raise UploadGone
        return upload, version


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


def _new_upload(request: OpenUpload, version: DatasetVersion, *, now: datetime, expires_at: datetime) -> Upload:
    return Upload(
        id=new_identifier("upload"),
        dataset_version_id=version.id,
        name=request.name,
        filename=request.filename,
        size_bytes=request.size_bytes,
        is_converted_if_possible=request.convert,
        created_at=now,
        expires_at=expires_at,
    )


def _is_plain_name(filename: str) -> bool:
    return filename.isprintable() and "\\" not in filename

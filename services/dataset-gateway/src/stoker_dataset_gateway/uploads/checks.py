"""The background check of uploads whose bytes are all there: claimed, renewed, taken over when its process dies."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta

from stoker_dataset_gateway.checking import CheckResult
from stoker_dataset_gateway.checking.checker import Checker, StoredFile
from stoker_dataset_gateway.errors import BytesLost, ChecksumMismatch, ObjectMissing, StoreFull, WriteLost
from stoker_dataset_gateway.storage import ObjectStore
from stoker_dataset_gateway.uploads.repository import UploadRepository
from stoker_dataset_gateway.uploads.tables import Upload, UploadState
from stoker_dataset_gateway.uploads.verdicts import Verdicts
from stoker_shared.clock import Clock
from stoker_shared.database import Database
from stoker_shared.errors import StokerError, TransientError
from stoker_shared.identifiers import new_identifier
from stoker_shared.logging import get_logger
from stoker_shared.object_store.address import StoreAddress
from stoker_shared.rpc.dataset_gateway import DatasetStatistics, RowFault
from stoker_shared.tasks import end_tasks

logger = get_logger(__name__)

_TRIES = 2
_LONGEST_BEAT = timedelta(seconds=1)
_PAUSE_AFTER_OUTAGE = timedelta(seconds=2)


@dataclass(frozen=True, slots=True)
class CheckRules:
    """Where files lie, how many are checked at once, and how long a check stays its process's without a sign of it."""

    address: StoreAddress
    lease: timedelta
    at_once: int = 2


@dataclass(slots=True)
class _Claim:
    upload: Upload
    sha256: str
    holder: str
    checked_bytes: int = 0


class CheckRunner:
    """Checks one upload after the other. Every replica runs one; a row's lease says whose a check is."""

    def __init__(
        self, database: Database, store: ObjectStore, checker: Checker, verdicts: Verdicts, *, clock: Clock,
        rules: CheckRules,
    ) -> None:  # fmt: skip
        self._database = database
        self._store = store
        self._checker = checker
        self._verdicts = verdicts
        self._clock = clock
        self._rules = rules
        self._uploads = UploadRepository()
        self._wake = asyncio.Event()
        self._running: set[asyncio.Task[None]] = set()

    def wake(self) -> None:
        """There is something to check."""
        self._wake.set()

    async def run(self) -> None:
        """Check until cancelled."""
        try:
            while True:
                self._wake.clear()
                try:
                    await self._claim_all()
                except StokerError as error:
                    logger.warning("checks put off", reason=error.detail)
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._beat.total_seconds()):
                        await self._wake.wait()
        finally:
            await end_tasks(self._running)
            await self._checker.close()

    @property
    def _beat(self) -> timedelta:
        return min(self._rules.lease / 3, _LONGEST_BEAT)

    async def _claim_all(self) -> None:
        while len(self._running) < self._rules.at_once:
            claim = await self._claim()
            if claim is None:
                return
            task = asyncio.create_task(self._check(claim))
            self._running.add(task)
            task.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._running.discard(task)
        self._wake.set()
        if not task.cancelled() and task.exception() is not None:
            logger.error("a check broke off; it is taken up again when its lease ends", exc_info=task.exception())

    async def _claim(self) -> _Claim | None:
        now, holder = self._clock.now(), new_identifier("holder")
        async with self._database.transaction() as session:
            upload = await self._uploads.claim_check(session, holder=holder, now=now, until=now + self._rules.lease)
            if upload is None:
                return None
            sha256 = await self._uploads.sha256_of(session, upload)
        return _Claim(upload, sha256, holder)

    async def _check(self, claim: _Claim) -> None:
        examining = asyncio.create_task(self._examine(claim))
        keeping = asyncio.create_task(self._keep(claim))
        try:
            await asyncio.wait({examining, keeping}, return_when=asyncio.FIRST_COMPLETED)
            if examining.done():
                await self._conclude(claim, examining)
            else:
                logger.warning("another replica has taken the check over", upload_id=claim.upload.id)
        except asyncio.CancelledError:
            await self._release(claim, pause=timedelta(0))
            raise
        except WriteLost:
            logger.warning("the check ended after its claim", upload_id=claim.upload.id)
        except TransientError as error:
            logger.warning("verdict put off", upload_id=claim.upload.id, reason=error.detail)
        finally:
            await end_tasks([examining, keeping])

    async def _examine(self, claim: _Claim) -> CheckResult:
        await self._complete(claim.upload)

        def note(checked_bytes: int) -> None:
            claim.checked_bytes = checked_bytes

        return await self._checker.check(self._file(claim), progress=note)

    async def _complete(self, upload: Upload) -> None:
        """Make the parts one object; done before if a process died after it."""
        key = upload.object_key or ""  # an upload in check has one
        if upload.store_upload is None:
            await self._store.put(key, _no_blocks(), size_hint=0)
            return
        async with self._database.transaction() as session:
            parts = await self._uploads.parts(session, upload.id)
        try:
            await self._store.complete_parts(key, upload=upload.store_upload, parts=parts)
        except ObjectMissing:
            if await self._store.size_of(key) != upload.size_bytes:
                raise

    def _file(self, claim: _Claim) -> StoredFile:
        upload = claim.upload
        return StoredFile(
            address=self._rules.address,
            key=upload.object_key or "",
            filename=upload.filename,
            sha256=claim.sha256,
            size_bytes=upload.size_bytes,
            is_converted_if_possible=upload.is_converted_if_possible,
        )

    async def _keep(self, claim: _Claim) -> None:
        """Renew the claim and tell how far the check is. Returns when the claim is lost."""
        while True:
            await asyncio.sleep(self._beat.total_seconds())
            values = {
                "held_until": self._clock.now() + self._rules.lease,
                "checked_bytes": claim.checked_bytes,
            }
            try:
                if not await self._change(claim, values):
                    return
            except StokerError as error:
                logger.warning("check not renewed", upload_id=claim.upload.id, reason=error.detail)

    async def _conclude(self, claim: _Claim, examined: "asyncio.Task[CheckResult]") -> None:
        upload, holder = claim.upload, claim.holder
        try:
            result = examined.result()
        except ChecksumMismatch as fault:
            await self._verdicts.fail(upload, fault, holder=holder)
        except ObjectMissing:
            await self._verdicts.fail(upload, BytesLost(), holder=holder)
        except (TransientError, StoreFull) as error:
            logger.warning("check put off", upload_id=upload.id, reason=error.detail)
            await self._release(claim, pause=_PAUSE_AFTER_OUTAGE)
        except Exception:
            logger.exception("the check itself failed", upload_id=upload.id)
            await self._broken(claim)
        else:
            state = await self._verdicts.decide(upload, result, holder=holder)
            logger.info("upload checked", upload_id=upload.id, state=state, faults=result.faults_total)

    async def _broken(self, claim: _Claim) -> None:
        failures = claim.upload.check_failures + 1
        if failures >= _TRIES:
            await self._verdicts.decide(claim.upload, _check_failed(), holder=claim.holder)
        else:
            await self._change(claim, {"check_failures": failures, "held_by": None, "held_until": None})

    async def _release(self, claim: _Claim, *, pause: timedelta) -> None:
        with suppress(TransientError):  # then the lease ends by itself
            await self._change(claim, {"held_by": None, "held_until": self._clock.now() + pause})

    async def _change(self, claim: _Claim, values: dict[str, object]) -> bool:
        async with self._database.transaction() as session:
            return await self._uploads.change(
                session, claim.upload.id, states=(UploadState.CHECKING,), values=values, holder=claim.holder
            )


def _check_failed() -> CheckResult:
    fault = RowFault(
        line=0,
        code="check_failed",
        message="The check of this file failed inside, twice. Tell the operator; convert the file to try another way.",
    )
    return CheckResult(
        data_format=None,
        statistics=DatasetStatistics(),
        faults=[fault],
        fault_counts={fault.code: 1},
        sample="",
    )


async def _no_blocks() -> AsyncIterator[bytes]:
    return
    yield b""

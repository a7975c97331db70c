"""The check of a file that lies in the store."""

from collections.abc import Callable
from dataclasses import dataclass

from anyio import CapacityLimiter, to_thread

from stoker_dataset_gateway.checking.file_check import CheckLimits, CheckResult, FileCheck
from stoker_dataset_gateway.objects.incoming import Digest
from stoker_dataset_gateway.storage import ObjectStore, StoreAddress


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file in the store, and what it shall be."""

    address: StoreAddress
    key: str
    filename: str
    sha256: str
    size_bytes: int
    is_converted_if_possible: bool


class Checker:
    """Reads files back from the store: every byte for the SHA-256, every row for the rules."""

    def __init__(self, *, limits: CheckLimits, processes: int = 2) -> None:
        self._limits = limits
        self._limiter = CapacityLimiter(processes)

    async def check(self, file: StoredFile, *, progress: Callable[[int], None] | None = None) -> CheckResult:
        """What the rows are like. `progress` is told the bytes that have been checked.

        Raises:
            ChecksumMismatch: the object is not the announced content.
            ObjectMissing, StoreUnavailable.
        """
        check, digest = FileCheck(file.filename, limits=self._limits), Digest()
        reader = await ObjectStore(file.address).open(file.key)
        try:
            while block := await reader.read():
                await to_thread.run_sync(_take, check, digest, block, limiter=self._limiter)
                if progress is not None:
                    progress(digest.size_bytes)
        finally:
            await reader.close()
        digest.compare(sha256=file.sha256, size_bytes=file.size_bytes)
        return await to_thread.run_sync(check.finish, limiter=self._limiter)

    async def close(self) -> None:
        """Give back what checks need."""


def _take(check: FileCheck, digest: Digest, block: bytes) -> None:
    digest.take(block)
    check.feed(block)

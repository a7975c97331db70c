"""What happens to the bytes of an upload between the client and the store."""

from collections.abc import AsyncIterator

from anyio import CapacityLimiter, to_thread

from stoker_dataset_gateway.checking import CheckResult, FileCheck
from stoker_dataset_gateway.objects.incoming import Digest


class RowsFaulty(Exception):
    """The file came whole and has faults; ends the upload, never seen outside of it."""

    def __init__(self, result: CheckResult) -> None:
        super().__init__(f"{result.faults_total} faults")
        self.result = result


class Inspection:
    """Hashes and checks blocks as they pass. `result` is there when the last one has passed."""

    def __init__(self, check: FileCheck, *, sha256: str, size_bytes: int, limiter: CapacityLimiter) -> None:
        self._check = check
        self._sha256 = sha256
        self._size_bytes = size_bytes
        self._limiter = limiter
        self._digest = Digest()
        self.result: CheckResult | None = None

    async def pass_on(self, blocks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """The blocks, for the store.

        Raises:
            ChecksumMismatch: after the last block, not the announced content.
            RowsFaulty: after the last block, the rows have faults.
        """
        async for block in blocks:
            await to_thread.run_sync(self._take, block, limiter=self._limiter)
            # What has a fault will not be stored: spare the store the rest.
            if not self._check.has_faults:
                yield block
        self._digest.compare(sha256=self._sha256, size_bytes=self._size_bytes)
        self.result = await to_thread.run_sync(self._check.finish, limiter=self._limiter)
        if self.result.faults_total:
            raise RowsFaulty(self.result)

    def _take(self, block: bytes) -> None:
        self._digest.take(block)
        self._check.feed(block)

"""What a store's failure means. Each service makes its own error of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeVar

from anyio import CapacityLimiter, to_thread
from minio.error import InvalidResponseError, MinioException, S3Error, ServerError
from urllib3.exceptions import HTTPError

from stoker_shared.errors import StokerError

ResultT = TypeVar("ResultT")

FaultKind = Literal["object_missing", "upload_missing", "full", "away"]

KINDS: Mapping[str, FaultKind] = {
    "NoSuchKey": "object_missing",
    "NoSuchObject": "object_missing",
    "NoSuchVersion": "object_missing",
    "NoSuchUpload": "upload_missing",
    # The store has no such part any more.
    "InvalidPart": "upload_missing",
    "XMinioStorageFull": "full",
    "XMinioAdminBucketQuotaExceeded": "full",
    "QuotaExceeded": "full",
    "InsufficientStorage": "full",
}
"""By the store's error code; any other is `away`."""


@dataclass(frozen=True, slots=True)
class StoreFault:
    """`code`: the store's, or the name of what was raised. `status` 0: there was no answer, or none of HTTP."""

    kind: FaultKind
    code: str
    status: int
    detail: str


async def in_thread(
    work: Callable[[], ResultT], *, limiter: CapacityLimiter, translated: Callable[[StoreFault], StokerError]
) -> ResultT:
    """Run a blocking call to the store. What it fails with comes out as `translated` makes it."""
    try:
        return await to_thread.run_sync(work, limiter=limiter)
    except (MinioException, HTTPError, OSError) as error:
        raise translated(fault_of(error)) from error


def fault_of(error: Exception) -> StoreFault:
    """What went wrong, from what the SDK or its connection raised."""
    code, status = _code_and_status(error)
    kind: FaultKind = "full" if status == 507 else "away"
    return StoreFault(KINDS.get(code, kind), code or type(error).__name__, status, str(error)[:500])


def _code_and_status(error: Exception) -> tuple[str, int]:
    match error:
        case S3Error():
            return error.code or "", error.response.status
        case ServerError():
            return "ServerError", error.status_code
        case InvalidResponseError():
            return "InvalidResponse", 0
        case _:
            return "", 0

"""Blocking calls to the store, and the gateway's errors for what they fail with."""

from collections.abc import Callable
from typing import Any, TypeVar

from anyio import CapacityLimiter

from stoker_dataset_gateway.errors import ObjectMissing, StoreFull, StoreUnavailable
from stoker_shared.errors import StokerError
from stoker_shared.logging import get_logger
from stoker_shared.object_store.faults import StoreFault, in_thread

logger = get_logger(__name__)

ResultT = TypeVar("ResultT")


async def called(limiter: CapacityLimiter, function: Callable[..., ResultT], *arguments: Any, **named: Any) -> ResultT:
    """Call in a thread.

    Raises:
        ObjectMissing, StoreFull, StoreUnavailable.
    """
    return await in_thread(lambda: function(*arguments, **named), limiter=limiter, translated=_translated)


def _translated(fault: StoreFault) -> StokerError:
    if fault.kind in ("object_missing", "upload_missing"):
        return ObjectMissing("")
    logger.warning("object store failed", code=fault.code, status=fault.status, error=fault.detail)
    return StoreFull() if fault.kind == "full" else StoreUnavailable(fault.code)

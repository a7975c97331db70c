"""The start of a service: what it needs may be starting too, or be too busy to answer at once."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TypeVar

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_after_delay, wait_exponential

from stoker_shared.errors import TransientError
from stoker_shared.logging import get_logger

logger = get_logger(__name__)

Answer = TypeVar("Answer")

_FIRST_PAUSE_SECONDS = 0.25
_LONGEST_PAUSE_SECONDS = 2.0


async def with_patience(
    call: Callable[[], Awaitable[Answer]],
    *,
    patience: timedelta,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> Answer:
    """Call until it is not refused for a passing reason; what may be called must be safe to call again.

    Raises:
        TransientError: that of the last call, when the patience is over.
    """
    retrying = AsyncRetrying(
        retry=retry_if_exception_type(TransientError),
        stop=stop_after_delay(patience),
        wait=wait_exponential(multiplier=_FIRST_PAUSE_SECONDS, max=_LONGEST_PAUSE_SECONDS),
        before_sleep=_tell,
        sleep=sleep,
        reraise=True,
    )
    # Called here: tenacity awaits nothing that is not a coroutine function itself, a lambda or a partial for instance.
    async for attempt in retrying:
        with attempt:
            answer = await call()
    return answer


def _tell(state: RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome is not None else None
    reason = error.detail if isinstance(error, TransientError) else str(error)
    logger.warning("the start waits", reason=reason, tries=state.attempt_number)

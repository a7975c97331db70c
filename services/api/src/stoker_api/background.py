"""Tasks that run as long as the application does."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from stoker_shared.logging import get_logger
from stoker_shared.tasks import end_tasks

logger = get_logger(__name__)


@asynccontextmanager
async def running(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run a coroutine for as long as the block lasts. If it fails, the process ends and its supervisor starts anew."""
    task = asyncio.create_task(work)
    task.add_done_callback(_end_process_on_failure)
    try:
        yield
    finally:
        await end_tasks([task])


def _end_process_on_failure(task: "asyncio.Task[None]") -> None:
    if task.cancelled() or (error := task.exception()) is None:
        return
    logger.critical("a background task failed; ending so that the supervisor starts anew", exc_info=error)
    os.kill(os.getpid(), signal.SIGTERM)

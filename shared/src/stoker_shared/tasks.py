"""Tasks in the background: they end for certain, and none ends unseen."""

import asyncio
import os
import signal
from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import Any

from stoker_shared.logging import get_logger

logger = get_logger(__name__)

_AGAIN_SECONDS = 0.5


def begin_tasks(works: Mapping[str, Callable[[], Coroutine[Any, Any, None]]]) -> "list[asyncio.Task[None]]":
    """Start what lasts as long as the process does, each under its name; `end_tasks` ends it.

    Nobody awaits these tasks: if one fails, the process ends by SIGTERM and its supervisor starts it anew. Half a
    service would look healthy.
    """
    tasks = [asyncio.create_task(work(), name=name) for name, work in works.items()]
    for task in tasks:
        task.add_done_callback(end_process_if_failed)
    return tasks


def end_process_if_failed(task: "asyncio.Task[None]") -> None:
    """As a task's done callback: end the process in good order if the task ended with an error."""
    if task.cancelled() or (error := task.exception()) is None:
        return
    logger.critical(
        "background work failed; ending so that the supervisor starts anew", work=task.get_name(), exc_info=error
    )
    os.kill(os.getpid(), signal.SIGTERM)


async def end_tasks(tasks: Iterable["asyncio.Task[Any]"]) -> None:
    """Cancel, cancel again what goes on, and return when all have ended, however they ended.

    An error of a task is left to whoever awaits it; if nobody does, asyncio reports it.

    `asyncio.wait_for` of Python 3.11, which the NATS client waits with, swallows a cancellation that comes in the same
    moment as the answer: a loop that is cancelled once may run on for ever.
    """
    running = {task for task in tasks if not task.done()}
    while running:
        for task in running:
            task.cancel()
        _, running = await asyncio.wait(running, timeout=_AGAIN_SECONDS)

"""Ending background tasks for certain."""

import asyncio
from collections.abc import Iterable
from typing import Any

_AGAIN_SECONDS = 0.5


async def end_tasks(tasks: Iterable["asyncio.Task[Any]"]) -> None:
    """Cancel, cancel again what goes on, and return when all have ended, however they ended.

    `asyncio.wait_for` of Python 3.11, which the NATS client waits with, swallows a cancellation that comes in the same
    moment as the answer: a loop that is cancelled once may run on for ever.
    """
    ended = list(tasks)
    running = {task for task in ended if not task.done()}
    while running:
        for task in running:
            task.cancel()
        _, running = await asyncio.wait(running, timeout=_AGAIN_SECONDS)
    for task in ended:
        if not task.cancelled():
            # Looked at, so that asyncio does not report it as never retrieved; it is the business of whoever awaits it.
            task.exception()

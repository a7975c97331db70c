"""Ending background tasks for certain."""

import asyncio
from collections.abc import Iterable
from typing import Any

_AGAIN_SECONDS = 0.5


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

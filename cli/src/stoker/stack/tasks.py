"""Ending tasks that do not listen the first time."""

import asyncio
from typing import Any

AGAIN_SECONDS = 0.5


async def end_task(task: "asyncio.Task[Any]") -> None:
    """Cancel a task and wait until it has ended, however it ends. Its error is the business of whoever awaits it.

    Client libraries swallow a cancellation now and then (nats-py while it connects): so it is repeated.
    """
    while not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=AGAIN_SECONDS)
    if not task.cancelled():
        task.exception()

"""Processes that lost their parent below us: kept within reach instead of going to init (Linux only)."""

import asyncio
import contextlib
import ctypes
import os
import signal
import sys
from datetime import timedelta

import psutil

from stoker.stack.processes import OWN_CHILDREN
from stoker.stack.records import descendants_of, end_processes

_PR_SET_CHILD_SUBREAPER = 36


def adopt_orphans() -> None:
    """Become the parent of whoever loses his below us: a machine whose training server was killed, say."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


async def keep_reaping(every: timedelta = timedelta(seconds=2)) -> None:
    """Take the exit status of adopted processes that ended, until cancelled.

    Otherwise a machine would look alive to whoever asks for its pid.
    """
    me = psutil.Process()
    while True:
        await asyncio.sleep(every.total_seconds())
        for child in me.children():
            if child.pid not in OWN_CHILDREN:
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(child.pid, os.WNOHANG)  # noqa: ASYNC222 - WNOHANG does not wait


def end_all_below(*, patience: float) -> list[int]:
    """End every process below this one. Only for a process all of whose children are the stack's."""
    return end_processes(descendants_of(os.getpid()), number=signal.SIGTERM, patience=patience)

"""Processes that lost their parent below us: kept within reach instead of going to init (Linux only)."""

import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Iterable

import psutil

from stoker.stack.records import ProcessIdentity, descendants_of, end_processes

_PR_SET_CHILD_SUBREAPER = 36


def adopt_orphans() -> None:
    """Become the parent of whoever loses his below us: a machine whose training server was killed, say."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def reap_adopted(identities: Iterable[ProcessIdentity]) -> None:
    """Take the exit status of those that ended. Otherwise they would look alive to whoever asks for their pid."""
    for identity in identities:
        with contextlib.suppress(psutil.Error, ChildProcessError):
            process = psutil.Process(identity.pid)
            if process.status() == psutil.STATUS_ZOMBIE and process.ppid() == os.getpid():
                os.waitpid(identity.pid, os.WNOHANG)


def end_all_below(*, patience: float) -> list[int]:
    """End every process below this one. Only for a process all of whose children are the stack's."""
    return end_processes(descendants_of(os.getpid()), number=signal.SIGTERM, patience=patience)

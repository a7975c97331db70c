"""Two processes that each see to it that the other's death leaves nothing running (Linux; elsewhere only orderly ends).

The guard starts the server and waits. Killed, it takes the server with it by a signal from the kernel, and the server
ends its pods. If the server is killed, the kernel hands its pods to the guard, which ends them.
"""

import os
import signal
import sys
from collections.abc import Callable
from types import FrameType

from stoker.stack.orphans import adopt_orphans, end_all_below
from tests.simulators.runpod.leash import bind_to_parent_death

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_PATIENCE_SECONDS = 2.0


def run_guarded(serve: Callable[[], int]) -> int:
    """Run `serve` in a child. Returns its exit status, when nothing of it is left."""
    adopt_orphans()
    guard = os.getpid()
    server = os.fork()
    if server == 0:
        bind_to_parent_death(guard, signal.SIGTERM)
        adopt_orphans()
        os._exit(_served(serve))
    for number in _SIGNALS:
        signal.signal(number, lambda number, _frame: _pass_on(server, number))
    status = _wait_for(server)
    end_all_below(patience=_PATIENCE_SECONDS)
    return status


def _served(serve: Callable[[], int]) -> int:
    try:
        return serve()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


def _pass_on(server: int, number: int, _frame: FrameType | None = None) -> None:
    try:
        os.kill(server, signal.SIGTERM if number == signal.SIGHUP else number)
    except ProcessLookupError:
        return


def _wait_for(server: int) -> int:
    while True:
        pid, status = os.wait()  # also takes the status of orphans that came to us
        if pid == server:
            return os.waitstatus_to_exitcode(status)

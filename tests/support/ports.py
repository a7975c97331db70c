"""Free ports below the ephemeral range, held by this process: no other test, stack or outgoing connection takes one."""

import secrets
from collections import deque

from stoker.stack.port_holding import HeldPorts
from stoker.stack.ports import HIGH, LOW

_MOST_HELD = 256
"""Of one worker; the oldest are given free, to stay far from the limit of open files."""

_held: deque[HeldPorts] = deque()


def free_port() -> int:
    """A port on 127.0.0.1 that nobody listens on and nobody else is about to."""
    held = HeldPorts()
    while True:
        port = LOW + secrets.randbelow(HIGH - LOW + 1)  # not `random`, which Hypothesis seeds alike in every worker
        if held.take(port):
            break
    _held.append(held)
    if len(_held) > _MOST_HELD:
        _held.popleft().release()
    return port

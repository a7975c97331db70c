"""Who answers on a port: the process we started, or a stranger."""

import os
import socket
import subprocess
import sys

from stoker.stack.ports import listens_on


def test_a_port_is_held_by_the_process_that_listens_and_by_nobody_else() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        stranger = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
        try:
            assert listens_on(os.getpid(), port)
            assert not listens_on(stranger.pid, port)
        finally:
            stranger.kill()
            stranger.wait()
    assert not listens_on(os.getpid(), port)
    assert not listens_on(stranger.pid, port)

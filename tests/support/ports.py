"""Free ports below the ephemeral range, so that no outgoing connection takes one in between."""

import secrets
import socket


def free_port() -> int:
    """A port on 127.0.0.1 that nobody listens on now."""
    while True:
        port = 20_000 + secrets.randbelow(12_000)  # not `random`, which Hypothesis seeds alike in every worker
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                return port

"""Free ports below the ephemeral range, so that no outgoing connection takes one in between."""

import random
import socket


def free_port() -> int:
    """A port on 127.0.0.1 that nobody listens on now."""
    while True:
        port = random.randint(20_000, 32_000)
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                return port

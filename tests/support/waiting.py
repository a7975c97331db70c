"""Waiting for what follows."""

import threading
import time
from collections.abc import Callable


def wait_until(question: Callable[[], bool], *, seconds: float = 60) -> None:
    """Ask again and again until the answer is yes; the limit is there for what never comes."""
    deadline = time.monotonic() + seconds
    while not question():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        threading.Event().wait(0.03)

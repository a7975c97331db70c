"""The world as the guard meets it: what it says, and how it waits."""

import threading
import time
from collections.abc import Callable

Wait = Callable[[float], object]
"""Takes seconds."""

pause: Wait = threading.Event().wait


def say(text: str) -> None:
    """One line on the container's output, and so in the log that is shipped."""
    try:
        print(text, flush=True)  # noqa: T201 - the container's output is the product here
    except OSError:
        return  # nobody reads it any more; the machine is released all the same


def now() -> str:
    """This moment in ISO 8601."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())

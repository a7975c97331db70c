"""Whether this pod reaches whom it needs. Any answer of a server will do; the token is not sent."""

import threading
from collections.abc import Callable, Mapping
from time import monotonic
from urllib.parse import urlsplit

from .calls import Answer, call

TRIES = 6
ADVICE = "Is the service up, and is its public address reachable from the internet?"


def reach(
    targets: Mapping[str, str], *, agent: str, pause: float, wait: Callable[[float], object] = threading.Event().wait
) -> bool:
    """Say for each target (name to URL) whether it answers; True if all do."""
    missing = dict(targets)
    for number in range(TRIES):
        if number:
            wait(pause)
        missing = {name: url for name, url in missing.items() if not _answers(name, url, agent=agent)}
        if not missing:
            return True
    return False


def _answers(name: str, url: str, *, agent: str) -> bool:
    parts = urlsplit(url)
    place = f"{parts.scheme}://{parts.netloc}"
    started = monotonic()
    answer = call("GET", f"{place}/healthz", agent=agent)
    if _is_ours(answer):
        print(f"{name}: {place} answers ({answer.status}) in {1000 * (monotonic() - started):.0f} ms", flush=True)
        return True
    why = f"answers {answer.status}" if answer.status else f"cannot be reached ({answer.detail})"
    print(f"{name}: {place} {why}. {ADVICE}", flush=True)
    return False


def _is_ours(answer: Answer) -> bool:
    # A proxy in front that has nobody behind it answers 502 to 504.
    return answer.status not in {0, 502, 503, 504}

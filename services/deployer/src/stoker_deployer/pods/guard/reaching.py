"""Whether this pod reaches whom it needs. Any answer of a server will do; the token is not sent."""

from collections.abc import Mapping
from time import monotonic
from urllib.parse import urlsplit

from .calls import Answer, call
from .outside import Wait, pause, say

TRIES = 6
ADVICE = "Is the service up, and is its public address reachable from the internet?"


def reach(targets: Mapping[str, str], *, agent: str, pause_seconds: float, wait: Wait = pause) -> bool:
    """Say for each target (name to URL) whether it answers; True if all do."""
    missing = dict(targets)
    for number in range(TRIES):
        if number:
            wait(pause_seconds)
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
        say(f"{name}: {place} answers ({answer.status}) in {1000 * (monotonic() - started):.0f} ms")
        return True
    why = f"answers {answer.status}" if answer.status else f"cannot be reached ({answer.detail})"
    say(f"{name}: {place} {why}. {ADVICE}")
    return False


def _is_ours(answer: Answer) -> bool:
    # A proxy in front that has nobody behind it answers 502 to 504.
    return answer.status not in {0, 502, 503, 504}

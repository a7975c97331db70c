"""Fetching the trainer: tried again, and taken only with the right SHA-256."""

import hashlib
from pathlib import Path

from .calls import Answer, call
from .outside import Wait, pause, say

TRIES = 8
FINAL = {401: "the job token is refused", 403: "the job token is refused", 404: "there is no such trainer any more"}
"""Answers that do not get better by asking again."""


def fetch(url: str, *, token: str, sha256: str, path: Path, agent: str, wait: Wait = pause) -> bool:
    """Whether the file is there now, as it should be. Says each fault."""
    for number in range(1, TRIES + 1):
        answer = call("GET", url, token=token, agent=agent)
        fault = _fault(answer, sha256)
        if not fault:
            path.write_bytes(answer.content)
            say(f"trainer fetched: {len(answer.content)} bytes, SHA-256 as expected")
            return True
        say(f"trainer not fetched in try {number} of {TRIES}: {fault}")
        if answer.status in FINAL:
            return False
        if number < TRIES:
            wait(answer.retry_after if answer.retry_after is not None else min(2.0 ** (number - 1), 30.0))
    return False


def _fault(answer: Answer, sha256: str) -> str:
    if not answer.is_yes:
        said = FINAL.get(answer.status) or answer.detail
        return f"the gateway answered {answer.status}: {said}" if answer.status else f"no answer ({answer.detail})"
    actual = hashlib.sha256(answer.content).hexdigest()
    return "" if actual == sha256 else f"its SHA-256 is {actual}, expected {sha256}"

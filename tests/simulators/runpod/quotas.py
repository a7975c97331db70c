"""How often an account may call: fixed windows of a minute, an hour and a day, told in the headers of each answer."""

import math
from collections.abc import Mapping
from datetime import datetime

from tests.simulators.runpod.problems import Problem
from tests.simulators.runpod.rules import Window

LENGTHS: dict[Window, int] = {"minute": 60, "hour": 3_600, "day": 86_400}


class Quotas:
    """The calls of one account, counted."""

    def __init__(self, quotas: Mapping[Window, int]) -> None:
        self._quotas = {window: quotas[window] for window in LENGTHS if window in quotas}
        self._counted: dict[Window, tuple[int, int]] = {}

    def count(self, now: datetime) -> None:
        """Count one call.

        Raises:
            Problem: 429, of the window that is full.
        """
        for window, quota in self._quotas.items():
            number, used = self._used(window, now)
            if used >= quota:
                wait = {"Retry-After": str(_left(window, now))}
                raise Problem(429, f"rate limit exceeded for the {window} window", headers=wait)
            self._counted[window] = (number, used + 1)

    def use_up(self, window: Window, now: datetime) -> None:
        """Leave nothing of a window."""
        self._counted[window] = (self._used(window, now)[0], self._quotas[window])

    def headers(self, now: datetime) -> dict[str, str]:
        """`RateLimit` and `RateLimit-Policy` of this moment."""
        left = [f'"{w}";r={max(0, q - self._used(w, now)[1])};t={_left(w, now)}' for w, q in self._quotas.items()]
        policy = [f'"{window}";q={quota};w={LENGTHS[window]}' for window, quota in self._quotas.items()]
        return {"RateLimit": ", ".join(left), "RateLimit-Policy": ", ".join(policy)}

    def _used(self, window: Window, now: datetime) -> tuple[int, int]:
        number = int(now.timestamp()) // LENGTHS[window]
        counted = self._counted.get(window, (number, 0))
        return counted if counted[0] == number else (number, 0)


def _left(window: Window, now: datetime) -> int:
    return math.ceil(LENGTHS[window] - now.timestamp() % LENGTHS[window])

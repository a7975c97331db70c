"""Keeps below the rate that RunPod allows, so that what releases a machine is never refused for what only looks."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import IntEnum

import httpx

from stoker_deployer.providers.runpod.errors import PROVIDER
from stoker_shared.clock import Clock
from stoker_shared.errors import RateLimited

_WINDOW = re.compile(r'"(?P<name>[a-z]+)"(?P<values>(?:\s*;\s*[a-z]+=\d+)*)')
_VALUE = re.compile(r"([a-z]+)=(\d+)")

# Of what is left in a window, looks leave this share of its quota to orders and releases.
_RESERVED_SHARE = 10
_RESERVED_LEAST = 3
_RESERVED_MOST = 50
_LONGEST_WAIT = timedelta(seconds=2)


class Urgency(IntEnum):
    """Whose turn it is when calls run short."""

    LOOK = 0
    ORDER = 1
    RELEASE = 2


@dataclass(slots=True)
class _Window:
    remaining: int
    resets_at: datetime
    quota: int | None

    def spare(self, urgency: Urgency) -> int:
        """How many calls of this urgency may be made before the window ends."""
        return self.remaining - (self._reserve() if urgency == Urgency.LOOK else 1)

    def _reserve(self) -> int:
        share = _RESERVED_LEAST if self.quota is None else self.quota // _RESERVED_SHARE
        return min(max(share, _RESERVED_LEAST), _RESERVED_MOST)


class Pace:
    """The budget of calls of one account, as the last answers told it. One that tells nothing is not held back."""

    def __init__(self, *, clock: Clock, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        self._clock = clock
        self._sleep = sleep
        self._windows: dict[str, _Window] = {}
        self._refused_until: datetime | None = None

    async def turn(self, urgency: Urgency) -> None:
        """Wait for a turn, for two seconds at most. A release has its turn at once.

        Raises:
            RateLimited: the wait would be longer.
        """
        if urgency != Urgency.RELEASE:
            wait = self._wait(urgency)
            if wait > _LONGEST_WAIT:
                detail = (
                    f"calls to RunPod are kept below its limit; the next may be made in {wait.total_seconds():.0f} s"
                )
                raise RateLimited(PROVIDER, detail, retry_after=wait)
            if wait > timedelta(0):
                await self._sleep(wait.total_seconds())
        for window in self._windows.values():
            window.remaining -= 1

    def note(self, response: httpx.Response, *, refused_for: timedelta | None) -> None:
        """Learn from an answer. `refused_for` is how long a 429 asked to wait."""
        now = self._clock.now()
        quotas = {name: values.get("q") for name, values in _windows(response.headers.get("RateLimit-Policy", ""))}
        for name, values in _windows(response.headers.get("RateLimit", "")):
            if "r" in values and "t" in values:
                resets_at = now + timedelta(seconds=values["t"])
                self._windows[name] = _Window(values["r"], resets_at, quotas.get(name))
        if refused_for is not None:
            self._refused_until = now + refused_for

    def _wait(self, urgency: Urgency) -> timedelta:
        now = self._clock.now()
        self._windows = {name: window for name, window in self._windows.items() if window.resets_at > now}
        until = [window.resets_at for window in self._windows.values() if window.spare(urgency) <= 0]
        if self._refused_until is not None:
            until.append(self._refused_until)
        return max([moment - now for moment in until], default=timedelta(0))


def _windows(header: str) -> list[tuple[str, dict[str, int]]]:
    return [
        (found["name"], {name: int(value) for name, value in _VALUE.findall(found["values"])})
        for found in _WINDOW.finditer(header)
    ]

"""How often, and how many at once, one token may fetch. Counted in this process; each replica allows as much."""

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

from stoker_shared.clock import Clock
from stoker_shared.errors import TooManyRequests

MOST_TOKENS = 10_000
"""Tokens remembered; the one that was used longest ago is forgotten first."""

_AT_ONCE_RETRY = timedelta(seconds=5)


@dataclass(frozen=True, slots=True)
class TokenAllowance:
    """`requests_per_minute` in the long run, `burst` of them at once, `downloads_at_once` bodies under way."""

    requests_per_minute: int
    burst: int
    downloads_at_once: int

    @property
    def interval(self) -> timedelta:
        """What one request costs."""
        return timedelta(minutes=1) / self.requests_per_minute


class TokenLimits:
    """Only tokens that were found good come here, so that nonsense cannot push them out."""

    def __init__(self, allowance: TokenAllowance, *, clock: Clock) -> None:
        self._allowance = allowance
        self._clock = clock
        # When the token's requests so far are paid for (the "theoretical arrival time" of GCRA).
        self._paid_until: OrderedDict[str, datetime] = OrderedDict()
        self._under_way: dict[str, int] = {}

    def count_request(self, token_hash: str) -> None:
        """One more request with this token.

        Raises:
            TooManyRequests: and it does not count.
        """
        now, cost = self._clock.now(), self._allowance.interval
        paid_until = max(self._paid_until.get(token_hash, now), now)
        wait = paid_until + cost - now - cost * self._allowance.burst
        if wait > timedelta(0):
            raise TooManyRequests("This token is used too often.", retry_after=wait)
        self._paid_until[token_hash] = paid_until + cost
        self._paid_until.move_to_end(token_hash)
        while len(self._paid_until) > MOST_TOKENS:
            self._paid_until.popitem(last=False)

    @contextmanager
    def download(self, token_hash: str) -> Iterator[None]:
        """A body that goes out as long as the block lasts.

        Raises:
            TooManyRequests: as many as may be are under way.
        """
        running = self._under_way.get(token_hash, 0)
        if running >= self._allowance.downloads_at_once:
            raise TooManyRequests(
                f"{running} downloads with this token are under way.",
                retry_after=_AT_ONCE_RETRY,
                next_step="Wait until one of them has ended.",
            )
        self._under_way[token_hash] = running + 1
        try:
            yield
        finally:
            self._under_way[token_hash] -= 1
            if not self._under_way[token_hash]:
                del self._under_way[token_hash]

    @property
    def under_way(self) -> int:
        """Bodies that go out now, of all tokens."""
        return sum(self._under_way.values())

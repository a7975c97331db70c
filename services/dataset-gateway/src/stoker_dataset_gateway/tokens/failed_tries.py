"""Who tries tokens that open nothing is made to wait, longer each time."""

from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import ip_address

from stoker_shared.clock import Clock


@dataclass(frozen=True, slots=True)
class TryRules:
    """`free` tries cost nothing, each further one doubles the wait up to `longest`; `forget_after` of silence heals."""

    free: int
    first_wait: timedelta
    longest: timedelta
    forget_after: timedelta
    most_addresses: int = 10_000


@dataclass(slots=True)
class _Tries:
    count: int
    last: datetime
    blocked_until: datetime


class FailedTries:
    """A bounded table by address: the one that was quiet longest is forgotten first. Kept in this process alone."""

    def __init__(self, rules: TryRules, *, clock: Clock) -> None:
        self._rules = rules
        self._clock = clock
        self._by_address: OrderedDict[str, _Tries] = OrderedDict()

    def wait(self, address: str) -> timedelta:
        """How long this address has to wait; nothing or less if it need not."""
        found = self._by_address.get(_neighbourhood(address))
        return found.blocked_until - self._clock.now() if found else timedelta(0)

    def note(self, address: str) -> None:
        """One more that failed."""
        now, place = self._clock.now(), _neighbourhood(address)
        found = self._by_address.get(place)
        if found is None or now - found.last > self._rules.forget_after:
            found = self._by_address[place] = _Tries(0, now, now)
        found.count, found.last = found.count + 1, now
        over = found.count - self._rules.free
        if over > 0:
            doublings = min(over - 1, 30)  # beyond that the longest wait has long been reached
            found.blocked_until = now + min(self._rules.longest, self._rules.first_wait * 2**doublings)
        self._by_address.move_to_end(place)
        while len(self._by_address) > self._rules.most_addresses:
            self._by_address.popitem(last=False)

    def __len__(self) -> int:
        """Addresses remembered."""
        return len(self._by_address)


def _neighbourhood(address: str) -> str:
    # Whoever has one IPv6 address usually has 2^64 of them.
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    if parsed.version == 4:
        return address
    return str(parsed.ipv4_mapped or int(parsed) >> 64)

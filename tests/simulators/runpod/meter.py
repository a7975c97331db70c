"""What a pod costs: stretches of time with a price, from which balance and bills are both worked out."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal

_MICROSECOND = timedelta(microseconds=1)
_MICROSECONDS_PER_HOUR = 3_600_000_000


@dataclass(frozen=True, slots=True)
class Amounts:
    """Dollars, or dollars an hour."""

    gpu: Decimal = Decimal(0)
    cpu: Decimal = Decimal(0)
    disk: Decimal = Decimal(0)

    @property
    def total(self) -> Decimal:
        """All of it."""
        return self.gpu + self.cpu + self.disk

    def __add__(self, other: "Amounts") -> "Amounts":
        return Amounts(self.gpu + other.gpu, self.cpu + other.cpu, self.disk + other.disk)

    def times(self, factor: Decimal) -> "Amounts":
        """A multiple."""
        return Amounts(self.gpu * factor, self.cpu * factor, self.disk * factor)

    def shown(self) -> dict[str, float]:
        """As a billing record tells it."""
        amounts = {"totalAmount": self.total, "gpuAmount": self.gpu, "cpuAmount": self.cpu, "diskAmount": self.disk}
        return {name: float(amount) for name, amount in amounts.items()}


@dataclass
class _Stretch:
    since: datetime
    rate: Amounts
    until: datetime | None = None


@dataclass
class Meter:
    """The prices of one pod over its life; at any moment one of them, or none."""

    stretches: list[_Stretch] = field(default_factory=list)

    def change(self, at: datetime, rate: Amounts | None) -> None:
        """Another price from now on; None: nothing."""
        if self.stretches and self.stretches[-1].until is None:
            self.stretches[-1].until = at
        if rate is not None:
            self.stretches.append(_Stretch(at, rate))

    @property
    def since(self) -> datetime | None:
        """When it first cost anything."""
        return self.stretches[0].since if self.stretches else None

    def between(self, start: datetime, end: datetime) -> Amounts:
        """What was spent from `start` until `end`."""
        spent = Amounts()
        for stretch in self.stretches:
            begin, finish = max(stretch.since, start), min(stretch.until or end, end)
            if finish > begin:
                spent += stretch.rate.times(hours(finish - begin))
        return spent

    def until(self, moment: datetime) -> Amounts:
        """What was spent so far."""
        return self.between(self.since, moment) if self.since else Amounts()


def hours(duration: timedelta) -> Decimal:
    """A duration in hours, to the microsecond."""
    return Decimal(duration // _MICROSECOND) / _MICROSECONDS_PER_HOUR


def total(amounts: Iterable[Amounts]) -> Amounts:
    """All together."""
    return sum(amounts, start=Amounts())

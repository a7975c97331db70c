"""What this process remembers of its own calls, for the while in which RunPod's answers lag behind them.

Nothing here is needed to be right: after a restart a look is believed a little sooner, and the deployer looks twice.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from stoker_deployer.providers.runpod.schemas import Pod
from stoker_shared.clock import Clock
from stoker_shared.money import MicroUsd

# For so long a pod may be unknown to a look that has just been made.
YOUNG = timedelta(seconds=60)
# For so long an order without an answer may still be worked on.
UNANSWERED = timedelta(seconds=60)
_KEEP = timedelta(days=2)


@dataclass(slots=True)
class _Container:
    """A pod's container. It was started again when its uptime goes back."""

    uptime: int
    restarts: int
    seen_at: datetime


@dataclass(slots=True)
class _Bill:
    """The amount that the books named last, and since when they name that."""

    amount: MicroUsd
    since: datetime


@dataclass(slots=True)
class Recent:
    """Orders without an answer, young pods, restarts and bills."""

    clock: Clock
    _ordered: dict[str, datetime] = field(default_factory=dict)
    _created: dict[str, datetime] = field(default_factory=dict)
    _containers: dict[str, _Container] = field(default_factory=dict)
    _bills: dict[str, _Bill] = field(default_factory=dict)

    def order_sent(self, name: str) -> None:
        """An order for this name goes out."""
        self._forget_old()
        self._ordered[name] = self.clock.now()

    def order_answered(self, name: str, *, handle: str | None = None) -> None:
        """It is certain what became of the order; `handle` if it made a pod."""
        self._ordered.pop(name, None)
        if handle is not None:
            self._created[handle] = self.clock.now()

    def is_unanswered(self, name: str) -> bool:
        """Whether RunPod may still be about to make a pod of this name."""
        sent_at = self._ordered.get(name)
        return sent_at is not None and self.clock.now() - sent_at < UNANSWERED

    def released(self, handle: str) -> None:
        """RunPod has taken the order to end this pod: from now on its absence is believed."""
        self._created.pop(handle, None)

    def is_young(self, handle: str) -> bool:
        """Whether the pod was made so short a while ago that a look may not find it."""
        created_at = self._created.get(handle)
        return created_at is not None and self.clock.now() - created_at < YOUNG

    def restarts(self, pod: Pod) -> tuple[int, bool]:
        """How often the pod's container was seen to start again, and whether that is news."""
        uptime = pod.runtime.uptime if pod.runtime else None
        known = self._containers.get(pod.id)
        if uptime is None:
            return (known.restarts if known else 0), False
        is_news = known is not None and uptime < known.uptime
        restarts = (known.restarts if known else 0) + is_news
        self._containers[pod.id] = _Container(uptime, restarts, self.clock.now())
        return restarts, is_news

    def bill_is_settled(self, handle: str, amount: MicroUsd, *, after: timedelta) -> bool:
        """Whether the books have named this amount for long enough."""
        now = self.clock.now()
        known = self._bills.get(handle)
        if known is None or known.amount != amount:
            known = self._bills[handle] = _Bill(amount, now)
        return now - known.since >= after

    def _forget_old(self) -> None:
        now = self.clock.now()
        self._ordered = {name: at for name, at in self._ordered.items() if now - at < UNANSWERED}
        self._created = {handle: at for handle, at in self._created.items() if now - at < YOUNG}
        self._containers = {handle: known for handle, known in self._containers.items() if now - known.seen_at < _KEEP}
        self._bills = {handle: bill for handle, bill in self._bills.items() if now - bill.since < _KEEP}

"""When a child that died is started again: soon at first, slowly if it keeps dying."""

from collections import deque
from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """`delays` after the first, second, ... death in a row of the last `window`; the last delay goes on for ever.

    `crash_loop_after` deaths within `window` make a crash loop: shown as failed, and tried again every `slow_delay`.
    """

    delays: tuple[timedelta, ...] = tuple(timedelta(seconds=seconds) for seconds in (0.2, 0.5, 1, 2, 5))
    window: timedelta = timedelta(seconds=60)
    crash_loop_after: int = 5
    slow_delay: timedelta = timedelta(seconds=30)
    # Deaths before the process was ready for the first time, after which the start of the stack gives up.
    first_start_attempts: int = 2


@dataclass(frozen=True, slots=True)
class RestartVerdict:
    """What to do after a death."""

    delay: timedelta
    is_crash_loop: bool


class CrashHistory:
    """The deaths of one process. Times are seconds of a monotonic clock."""

    def __init__(self, policy: RestartPolicy) -> None:
        self._policy = policy
        self._deaths: deque[float] = deque(maxlen=max(policy.crash_loop_after, len(policy.delays)))
        self.total = 0

    def died(self, now: float) -> RestartVerdict:
        """Note a death and say how long to wait before the next start."""
        self._deaths.append(now)
        self.total += 1
        recent = sum(1 for death in self._deaths if now - death <= self._policy.window.total_seconds())
        if recent >= self._policy.crash_loop_after:
            return RestartVerdict(self._policy.slow_delay, is_crash_loop=True)
        return RestartVerdict(self._policy.delays[min(recent, len(self._policy.delays)) - 1], is_crash_loop=False)

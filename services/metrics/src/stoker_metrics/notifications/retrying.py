"""When a delivery is tried again, and when its target is left alone. Pure."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

SCHEDULE: tuple[timedelta, ...] = (
    timedelta(seconds=5),
    timedelta(minutes=5),
    timedelta(minutes=30),
    timedelta(hours=2),
    timedelta(hours=5),
    timedelta(hours=10),
    timedelta(hours=14),
    timedelta(hours=20),
    timedelta(hours=24),
)
"""Pauses after each failed attempt, as the Standard Webhooks specification has them; the first attempt is at once."""

_LONGEST_RETRY_AFTER = timedelta(hours=24)
_JITTER = 0.1
_OBEYED = frozenset({429, 503})
GONE = 410


@dataclass(frozen=True, slots=True)
class RetryRules:
    """`pause_after` attempts in a row without a success, over at least `pause_span`, pause a target."""

    schedule: tuple[timedelta, ...] = SCHEDULE
    pause_after: int = 15
    pause_span: timedelta = timedelta(hours=12)


def next_attempt(
    rules: RetryRules,
    *,
    failed: int,
    now: datetime,
    spread: float,
    status: int | None = None,
    retry_after: str | None = None,
) -> datetime | None:
    """When to try again after `failed` attempts; None: not again. `spread`, 0 to 1, is chance: not all at once."""
    if failed > len(rules.schedule):
        return None
    pause = rules.schedule[failed - 1] * (1 + spread * _JITTER)
    asked = _asked_for(retry_after, now=now) if status in _OBEYED else timedelta()
    return now + max(pause, asked)


def must_pause(rules: RetryRules, *, failures: int, failing_since: datetime | None, now: datetime) -> bool:
    """Whether a target has failed for too long."""
    if failing_since is None:
        return False
    return failures >= rules.pause_after and now - failing_since >= rules.pause_span


def _asked_for(retry_after: str | None, *, now: datetime) -> timedelta:
    if not retry_after:
        return timedelta()
    if retry_after.strip().isascii() and retry_after.strip().isdigit():
        # Longer numbers than that are no durations.
        seconds = int(retry_after.strip()[:9])
        return min(timedelta(seconds=seconds), _LONGEST_RETRY_AFTER)
    try:
        moment = parsedate_to_datetime(retry_after)
    except (TypeError, ValueError):
        return timedelta()
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return min(max(aware - now, timedelta()), _LONGEST_RETRY_AFTER)

"""Numbers as people read them, and curves in characters."""

import math
from collections.abc import Sequence
from datetime import timedelta
from itertools import pairwise

from stoker_shared.money import show_usd

BARS = "▁▂▃▄▅▆▇█"
_BYTE_UNITS = ("B", "kB", "MB", "GB", "TB")


def show_bytes(amount: int | None) -> str:
    """`19.6 MB`; powers of 1000, as disks and providers count."""
    if amount is None:
        return "unknown"
    value = float(amount)
    for unit in _BYTE_UNITS[:-1]:
        if abs(value) < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} {_BYTE_UNITS[-1]}"


def show_duration(duration: timedelta | float | None) -> str:
    """`45 s`, `3 min 20 s`, `2 h 05 min`; a number is in seconds."""
    if duration is None:
        return "unknown"
    seconds = max(0.0, duration.total_seconds() if isinstance(duration, timedelta) else duration)
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min"


def show_money_range(low: int, high: int) -> str:
    """`$0.0012 to $0.0034`."""
    return f"{show_usd(low)} to {show_usd(high)}"


def sparkline(values: Sequence[float], *, width: int = 40) -> str:
    """The course of the values in one line; what is not finite is left out. Each bar is the mean of its share."""
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return ""
    means = bucket_means(finite, width)
    low, high = min(means), max(means)
    if high == low:
        return BARS[0] * len(means)
    return "".join(BARS[round((value - low) / (high - low) * (len(BARS) - 1))] for value in means)


def curve(values: Sequence[float], *, width: int = 60, height: int = 10) -> list[str]:
    """The course of the values over several lines, with the scale at the left; empty without finite values."""
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return []
    means = bucket_means(finite, width)
    low, high = min(means), max(means)
    span = (high - low) or 1.0
    rows = [round((value - low) / span * (height - 1)) for value in means]
    lines = []
    for row in reversed(range(height)):
        label = f"{low + span * row / (height - 1):8.3f} |" if row in {0, height // 2, height - 1} else "         |"
        lines.append(label + "".join("*" if at == row else " " for at in rows).rstrip())
    return [*lines, "         +" + "-" * len(means)]


def bucket_means(values: Sequence[float], buckets: int) -> list[float]:
    """At most `buckets` means of consecutive shares of the values."""
    if len(values) <= buckets:
        return list(values)
    edges = [round(index * len(values) / buckets) for index in range(buckets + 1)]
    return [math.fsum(values[a:b]) / (b - a) for a, b in pairwise(edges)]

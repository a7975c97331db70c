"""What passes between the layers of `keeping`."""

from dataclasses import dataclass
from datetime import date


@dataclass(frozen=True, slots=True)
class Caps:
    """How much is kept of one job, all its attempts together."""

    points: int = 5_000_000
    lines: int = 2_000_000
    log_bytes: int = 500_000_000
    # Of each level.
    alerts: int = 1_000


@dataclass(frozen=True, slots=True)
class Kept:
    """What is kept of an attempt: the part of its row that storing moves. See `KeptAttempt`."""

    day: date
    points_allowed: int
    lines_allowed: int
    log_bytes_allowed: int
    points_seen: int = 0
    points_stored: int = 0
    levelled_sequence: int = 0
    lines_seen: int = 0
    lines_stored: int = 0
    log_bytes: int = 0
    lines_capped_by: str | None = None
    lines_packed: int = 0

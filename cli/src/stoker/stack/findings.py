"""What a check of the doctor found."""

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How bad it is. A fault makes `stoker doctor` end with status 1."""

    OK = "ok"
    WARNING = "warning"
    FAULT = "fault"


@dataclass(frozen=True, slots=True)
class Finding:
    """One fact about the machine or the stack. `advice` says what to do, unless all is well."""

    level: Level
    subject: str
    what: str
    advice: str = ""


def ok(subject: str, what: str) -> Finding:
    """All is well with `subject`."""
    return Finding(Level.OK, subject, what)


def warning(subject: str, what: str, *, advice: str) -> Finding:
    """Works, but should be looked at."""
    return Finding(Level.WARNING, subject, what, advice)


def fault(subject: str, what: str, *, advice: str) -> Finding:
    """Does not work."""
    return Finding(Level.FAULT, subject, what, advice)

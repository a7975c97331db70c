"""Bounds of a check."""

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True)
class CheckLimits:
    """What one check may take.

    `line_bytes`: of a row, or of a row group's value; `unpacked_bytes`: to which a compressed file may unpack;
    `listed_faults` and `listed_warnings`: how many are told one by one; `followed_rows`: rows that are compared for
    duplicates, 16 bytes of disk each; `memory_bytes`: address space of the process that checks, 0 for no bound;
    `silence`: without progress for so long, the process is given up.
    """

    line_bytes: int = 8 * 2**20
    unpacked_bytes: int = 200 * 10**9
    listed_faults: int = 100
    listed_warnings: int = 50
    followed_rows: int = 50_000_000
    memory_bytes: int = 4 * 2**30
    silence: timedelta = timedelta(minutes=5)

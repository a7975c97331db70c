"""Figures over all rows in bounded memory."""

from array import array
from collections import Counter

from stoker_shared.rpc.dataset_gateway import DatasetStatistics

_EMPTY = 0


class Figures:
    """Takes rows in, tells statistics at the end.

    Lengths are counted exactly: k different lengths need a file of k*k/2 characters, so the table stays small.
    """

    def __init__(self) -> None:
        self._lengths: Counter[int] = Counter()
        self._duplicates = DuplicateCounter()
        self._empty_turns = 0

    def add(self, line: str, *, characters: int, empty_turns: int) -> None:
        """One row: its line as it stands in the file, and what the check found."""
        self._lengths[characters] += 1
        self._duplicates.add(line)
        self._empty_turns += empty_turns

    def statistics(self) -> DatasetStatistics:
        """The figures so far."""
        rows = self._lengths.total()
        return DatasetStatistics(
            rows=rows,
            characters_p50=self._percentile(50, rows),
            characters_p95=self._percentile(95, rows),
            characters_max=max(self._lengths, default=0),
            characters_total=sum(length * count for length, count in self._lengths.items()),
            duplicate_rows=self._duplicates.duplicates,
            empty_turns=self._empty_turns,
        )

    def _percentile(self, percent: int, rows: int) -> int:
        """Nearest rank: the smallest length that at least `percent` of the rows do not exceed."""
        rank, seen = -(-rows * percent // 100), 0
        for length in sorted(self._lengths):
            seen += self._lengths[length]
            if seen >= rank:
                return length
        return 0


class DuplicateCounter:
    """Counts lines that stood in the file before, character for character, in at most 32 MiB.

    A table of 64-bit hashes with open addressing: a set of Python objects would take ten times as much. After
    `_MAX_SLOTS` * 3/4 different lines no further ones are remembered, so from there on the count is a lower bound.
    """

    _FIRST_SLOTS = 2**12
    _MAX_SLOTS = 2**22

    def __init__(self) -> None:
        self.duplicates = 0
        self._table = array("Q", bytes(8 * self._FIRST_SLOTS))
        self._used = 0

    def add(self, line: str) -> None:
        """Take one line in."""
        key = hash(line) & 0xFFFF_FFFF_FFFF_FFFF or 1
        slot = self._find(key)
        if self._table[slot] == key:
            self.duplicates += 1
        elif self._has_room():
            # Growing moves every slot.
            self._table[self._find(key)] = key
            self._used += 1

    def _find(self, key: int) -> int:
        mask = len(self._table) - 1
        slot = key & mask
        while self._table[slot] not in (_EMPTY, key):
            slot = (slot + 1) & mask
        return slot

    def _has_room(self) -> bool:
        if self._used * 4 < len(self._table) * 3:
            return True
        if len(self._table) >= self._MAX_SLOTS:
            return False
        before = self._table
        self._table = array("Q", bytes(16 * len(before)))
        for key in before:
            if key != _EMPTY:
                self._table[self._find(key)] = key
        return True

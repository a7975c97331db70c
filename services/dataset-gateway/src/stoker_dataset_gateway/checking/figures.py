"""Figures over all rows in bounded memory."""

from collections import Counter

from stoker_dataset_gateway.checking.ledger import RowLedger
from stoker_shared.recipe import HeldOut
from stoker_shared.rpc.dataset_gateway import DatasetStatistics


class Figures:
    """Takes rows in, tells statistics at the end. Call `close` when done.

    Lengths are counted exactly: k different lengths need a file of k*k/2 characters, so the table stays small.
    """

    def __init__(self, *, followed_rows: int) -> None:
        self._lengths: Counter[int] = Counter()
        self._ledger = RowLedger(limit=followed_rows)
        self.empty_turns = 0

    def add(self, lengths: list[int], hashes: list[int]) -> None:
        """Some rows: the characters of each, and for each the hash of the row, then that of its prompt or 0."""
        self._lengths.update(lengths)
        self._ledger.add(hashes)

    def close(self) -> None:
        """Free what is held on disk."""
        self._ledger.close()

    def statistics(self, split: HeldOut) -> DatasetStatistics:
        """The figures so far."""
        rows = self._lengths.total()
        twins = self._ledger.leakage(split)
        return DatasetStatistics(
            rows=rows,
            characters_p50=self._percentile(50, rows),
            characters_p95=self._percentile(95, rows),
            characters_max=max(self._lengths, default=0),
            characters_total=sum(length * count for length, count in self._lengths.items()),
            duplicate_rows=self._ledger.duplicates(),
            empty_turns=self.empty_turns,
            held_out_rows=twins.held_out,
            held_out_twins=twins.twins,
            held_out_shared_prompts=twins.shared_prompts,
            is_exact=self._ledger.is_whole,
        )

    def _percentile(self, percent: int, rows: int) -> int:
        """Nearest rank: the smallest length that at least `percent` of the rows do not exceed."""
        rank, seen = -(-rows * percent // 100), 0
        for length in sorted(self._lengths):
            seen += self._lengths[length]
            if seen >= rank:
                return length
        return 0

"""What must be known of all rows at once, on disk and in constant memory: duplicates, and what a split would leak."""

import random
import tempfile
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import IO

import numpy as np
import numpy.typing as npt
import xxhash

from stoker_shared.recipe import HeldOut

Hashes = npt.NDArray[np.uint64]

_ENTRIES_IN_MEMORY = 2**17
_HASHES_AT_ONCE = 2**21
NO_PROMPT = 0
_64_BITS = 2**64 - 1


def hash_of(content: bytes) -> int:
    """64 bits, never 0."""
    return xxhash.xxh3_64_intdigest(content) or 1


def prompt_hash_of(parts: Sequence[str] | None) -> int:
    """Of the texts that make up a prompt; `NO_PROMPT` if there is none. Good within one process only."""
    return (hash(tuple(parts)) & _64_BITS) or 1 if parts else NO_PROMPT


@dataclass(frozen=True, slots=True)
class Split:
    """What the default split holds out, and how many of these rows are not new to the model."""

    held_out: int = 0
    twins: int = 0
    shared_prompts: int = 0


class RowLedger:
    """Two hashes a row, 16 bytes, in a temporary file; rows beyond `limit` are not followed."""

    def __init__(self, *, limit: int) -> None:
        self._limit = limit
        self._pending = array("Q")
        self._file: IO[bytes] | None = None
        self._rows = 0
        self.is_whole = True

    def add(self, hashes: list[int]) -> None:
        """The next rows, by their hashes: row, prompt, row, prompt, and so on."""
        room = self._limit - self._rows
        if len(hashes) > 2 * room:
            self.is_whole = False
            hashes = hashes[: 2 * room]
        self._rows += len(hashes) // 2
        self._pending.fromlist(hashes)
        if len(self._pending) >= 2 * _ENTRIES_IN_MEMORY:
            self._write()

    def close(self) -> None:
        """Free the disk."""
        if self._file is not None:
            self._file.close()

    def duplicates(self) -> int:
        """Rows that stood in the file before."""
        rounds = max(1, -(-self._rows // _HASHES_AT_ONCE))
        different = 0
        for part in range(rounds):
            # Each round takes its share of the hashes, so that memory is bounded and all equal ones meet.
            found = [rows[rows % np.uint64(rounds) == part] for rows, _ in self._entries()]
            different += _different(np.concatenate(found)) if found else 0
        return self._rows - different

    def leakage(self, split: HeldOut) -> Split:
        """What the split would leave on both sides."""
        held_out = held_out_rows(self._rows, split)
        if not held_out or not self.is_whole:
            return Split(held_out=len(held_out) if self.is_whole else 0)
        places = np.array(held_out, dtype=np.int64)
        kept_rows, kept_prompts = self._at(places)
        rows, prompts = np.zeros(len(places), dtype=bool), np.zeros(len(places), dtype=bool)
        start = 0
        for some_rows, some_prompts in self._entries():
            inside = places[(places >= start) & (places < start + len(some_rows))] - start
            start += len(some_rows)
            rows |= _are_in(kept_rows, np.delete(some_rows, inside))
            prompts |= _are_in(kept_prompts, np.delete(some_prompts, inside))
        prompts &= (kept_prompts != NO_PROMPT) & ~rows
        return Split(len(places), int(rows.sum()), int(prompts.sum()))

    def _at(self, places: npt.NDArray[np.int64]) -> tuple[Hashes, Hashes]:
        rows, prompts, start = [], [], 0
        for some_rows, some_prompts in self._entries():
            inside = places[(places >= start) & (places < start + len(some_rows))] - start
            start += len(some_rows)
            rows.append(some_rows[inside])
            prompts.append(some_prompts[inside])
        return np.concatenate(rows), np.concatenate(prompts)

    def _entries(self) -> Iterator[tuple[Hashes, Hashes]]:
        """Row and prompt hashes in the order of the rows."""
        if self._file is not None:
            self._write()
            self._file.seek(0)
            while block := self._file.read(16 * _ENTRIES_IN_MEMORY):
                yield _columns(block)
            self._file.seek(0, 2)
        elif self._pending:
            yield _columns(self._pending.tobytes())

    def _write(self) -> None:
        if self._file is None:
            self._file = tempfile.TemporaryFile(prefix="stoker-check-")  # noqa: SIM115 - `close` closes it
        self._file.write(self._pending.tobytes())
        del self._pending[:]


def held_out_rows(rows: int, split: HeldOut) -> list[int]:
    """Row numbers from 0 that the trainer would hold out; the same rule as the trainer's (a test compares them)."""
    if split.fraction == 0 or rows < 2:
        return []
    count = min(split.max_rows, max(1, round(rows * split.fraction)), rows - 1)
    return sorted(random.Random(split.seed).sample(range(rows), count))  # noqa: S311 - repeatable on purpose


def _different(hashes: Hashes) -> int:
    hashes.sort()
    return int(np.count_nonzero(hashes[1:] != hashes[:-1])) + min(len(hashes), 1)


def _are_in(few: Hashes, many: Hashes) -> npt.NDArray[np.bool_]:
    """Which of the few are among the many; sorts only the few."""
    order = np.sort(few)
    places = np.minimum(np.searchsorted(order, many), len(order) - 1)
    return np.isin(few, order[places[order[places] == many]])


def _columns(block: bytes) -> tuple[Hashes, Hashes]:
    pairs = np.frombuffer(block, dtype=np.uint64)
    return pairs[0::2], pairs[1::2]

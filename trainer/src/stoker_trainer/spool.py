"""An append-only queue on disk: what was appended survives a crash, in order, each record once.

A folder of segment files, one record a line (`<crc32> <json>`), plus the acknowledged position. Records are
numbered from 1. A line that cannot be read back (torn by a crash, damaged by the disk) is skipped and its number
is not used again, so a number never stands for two different records.

With `spare` numbers a full disk stops nothing: records get numbers that were set aside on disk while it had room, and
wait in memory alone. A new process begins behind those numbers, whether they were used or not.
"""

import contextlib
import json
import os
import zlib
from collections import deque
from pathlib import Path
from typing import Any, NamedTuple

from stoker_trainer.files import read_json, sync_folder, write_json

ACKNOWLEDGED = "acknowledged.json"
SET_ASIDE = "set_aside.json"
SEGMENT_BYTES = 1 << 20


class Record(NamedTuple):
    """A numbered record and its size in bytes as JSON."""

    sequence: int
    values: dict[str, Any]
    size: int


class _Segment(NamedTuple):
    path: Path
    last_sequence: int


class Spool:
    """One such queue. Not for use by two threads or processes at once."""

    def __init__(self, folder: Path, *, segment_bytes: int = SEGMENT_BYTES, spare: int = 0) -> None:
        self._folder = folder
        self._segment_bytes = segment_bytes
        self._spare = spare
        self._set_aside = 0
        self._waiting: deque[Record] = deque()
        self._closed_segments: list[_Segment] = []
        self._active: Path | None = None
        self._active_size = 0
        folder.mkdir(parents=True, exist_ok=True)
        self._acknowledged = _number_in(folder / ACKNOWLEDGED)
        self._last_sequence = self._acknowledged
        damaged = 0
        for path in sorted(folder.glob("*.segment")):
            damaged = self._recover(path, damaged)
        # Damaged lines at the end may have been sent before they were damaged: their numbers stay unused.
        self._last_sequence = max(self._last_sequence + damaged, _number_in(folder / SET_ASIDE))
        self._set_numbers_aside()

    @property
    def last_sequence(self) -> int:
        """The highest number in use; 0 before the first record."""
        return self._last_sequence

    def __len__(self) -> int:
        return len(self._waiting)

    def append(self, batch: list[dict[str, Any]]) -> None:
        """Number the records, write them and wait for the disk: one write and one fsync for all.

        Raises OSError (disk full, and no spare number is left) with nothing appended.
        """
        if not batch:
            return
        records = [_record(self._last_sequence + number, values) for number, values in enumerate(batch, start=1)]
        try:
            self._write(b"".join(_line(record) for record in records), first_sequence=records[0].sequence)
        except OSError:
            if records[-1].sequence > self._set_aside:
                raise
        self._waiting.extend(records)
        self._last_sequence = records[-1].sequence
        self._set_numbers_aside()

    def peek(self, *, limit: int, max_bytes: int) -> list[Record]:
        """The oldest records not yet acknowledged; at least one if there is any, whatever its size."""
        batch: list[Record] = []
        size = 0
        for record in self._waiting:
            size += record.size
            if batch and (len(batch) >= limit or size > max_bytes):
                break
            batch.append(record)
        return batch

    def acknowledge(self, sequence: int) -> None:
        """Forget all records up to and including `sequence`: they are durable elsewhere.

        Never raises for the disk: with an old position a new process sends some again, under the same numbers.
        """
        if sequence <= self._acknowledged:
            return
        self._acknowledged = sequence
        while self._waiting and self._waiting[0].sequence <= sequence:
            self._waiting.popleft()
        with contextlib.suppress(OSError):
            write_json(self._folder / ACKNOWLEDGED, {"sequence": sequence})
        # Even without the position: this is what makes room on a full disk.
        with contextlib.suppress(OSError):
            self._drop_segments()

    def _set_numbers_aside(self) -> None:
        wanted = self._last_sequence + self._spare
        if not self._spare or wanted - self._set_aside <= self._spare // 2:
            return
        # Without room the old ones have to do.
        with contextlib.suppress(OSError):
            write_json(self._folder / SET_ASIDE, {"sequence": wanted})
            self._set_aside = wanted

    def _recover(self, path: Path, damaged: int) -> int:
        """Read a segment; takes and returns how many damaged lines there were since the last good one."""
        for line in path.read_bytes().split(b"\n"):
            record = _parse(line) if line else None
            if record is None:
                damaged += bool(line)
            elif record.sequence > self._last_sequence:
                self._last_sequence = record.sequence
                self._waiting.append(record)
                damaged = 0
        self._closed_segments.append(_Segment(path, self._last_sequence))
        return damaged

    def _write(self, content: bytes, *, first_sequence: int) -> None:
        is_new = self._active is None
        path = self._active or self._folder / f"{first_sequence:015d}.segment"
        size = 0 if is_new else self._active_size
        try:
            _write_at(path, size, content)
            if is_new:
                sync_folder(self._folder)
        except OSError:
            _cut(path, size)
            raise
        # An empty file of this name may have been left by a crash: it is no closed segment any more.
        self._closed_segments = [segment for segment in self._closed_segments if segment.path != path]
        self._active, self._active_size = path, size + len(content)
        if self._active_size >= self._segment_bytes:
            self._closed_segments.append(_Segment(path, first_sequence + content.count(b"\n") - 1))
            self._active = None

    def _drop_segments(self) -> None:
        # The newest one stays: with the position it tells which numbers are taken.
        keep = self._closed_segments[-1:] if self._active is None else []
        droppable = self._closed_segments[: len(self._closed_segments) - len(keep)]
        for segment in droppable:
            if segment.last_sequence <= self._acknowledged:
                segment.path.unlink(missing_ok=True)
                self._closed_segments.remove(segment)


def _record(sequence: int, values: dict[str, Any]) -> Record:
    numbered = {"sequence": sequence} | values
    return Record(sequence, numbered, len(json.dumps(numbered, ensure_ascii=False).encode("utf-8", "replace")))


def _line(record: Record) -> bytes:
    body = json.dumps(record.values, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
    return b"%08x %s\n" % (zlib.crc32(body), body)


def _parse(line: bytes) -> Record | None:
    checksum, _, body = line.partition(b" ")
    if checksum != b"%08x" % zlib.crc32(body):
        return None
    try:
        values = json.loads(body)
        return Record(values["sequence"], values, len(body))
    except (ValueError, TypeError, KeyError):
        return None


def _number_in(path: Path) -> int:
    saved = read_json(path)
    sequence = saved.get("sequence") if isinstance(saved, dict) else None
    return sequence if isinstance(sequence, int) else 0


def _write_at(path: Path, size: int, content: bytes) -> None:
    """Put content behind the first `size` bytes, whatever a failed batch has left there, and wait for the disk."""
    with open(os.open(path, os.O_WRONLY | os.O_CREAT, 0o644), "wb") as file:  # noqa: PTH123 - neither cut nor appended
        file.truncate(size)
        file.seek(size)
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _cut(path: Path, size: int) -> None:
    """Take back a half-written batch; it works on a full disk. If it does not, the next batch goes over it."""
    with contextlib.suppress(OSError):
        if size == 0:
            path.unlink(missing_ok=True)
        else:
            os.truncate(path, size)

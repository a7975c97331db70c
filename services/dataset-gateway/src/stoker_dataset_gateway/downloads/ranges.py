"""The Range header, as RFC 9110 has it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from stoker_dataset_gateway.errors import RangeUnsatisfiable

MOST_RANGES = 32
"""More in one request are an attack or a mistake; the whole file is sent then."""

_UNIT = re.compile(r"\s*([!#$%&'*+.^_`|~0-9A-Za-z-]+)\s*=(.*)", re.DOTALL)
_SPEC = re.compile(r"\s*(\d{0,19})\s*-\s*(\d{0,19})\s*", re.ASCII)


@dataclass(frozen=True, slots=True)
class ByteRange:
    """`length` bytes from `start` on; both inside the file, `length` at least 1."""

    start: int
    length: int

    @property
    def end(self) -> int:
        """The first byte behind it."""
        return self.start + self.length

    def content_range(self, size_bytes: int) -> str:
        """The Content-Range header."""
        return f"bytes {self.start}-{self.end - 1}/{size_bytes}"


def wanted_ranges(header: str | None, *, size_bytes: int) -> list[ByteRange] | None:
    """The parts that the client wants, in the order in which it asked, None for the whole file.

    Another unit than bytes and too many ranges mean the whole file. Ranges that overlap or touch become one; of several
    those that lie outside the file are left out.

    Raises:
        RangeUnsatisfiable: not a range, or all of them outside the file.
    """
    if header is None:
        return None
    unit = _UNIT.fullmatch(header)
    if unit is not None and unit.group(1).lower() != "bytes":
        return None
    specs = [spec for spec in unit.group(2).split(",") if spec.strip()] if unit else []
    if len(specs) > MOST_RANGES:
        return None
    found = [_inside(spec, size_bytes, header=header) for spec in specs]
    parts = [part for part in found if part is not None]
    if not parts:
        raise RangeUnsatisfiable(header, size_bytes=size_bytes)
    return _merged(parts)


def _inside(spec: str, size_bytes: int, *, header: str) -> ByteRange | None:
    matched = _SPEC.fullmatch(spec)
    first, last = matched.groups() if matched else ("", "")
    if (not first and not last) or (first and last and int(last) < int(first)):
        raise RangeUnsatisfiable(header, size_bytes=size_bytes)
    if first:
        start, end = int(first), min(int(last) + 1, size_bytes) if last else size_bytes
    else:
        start, end = max(size_bytes - int(last), 0), size_bytes
    return ByteRange(start, end - start) if start < end else None


def _merged(parts: Sequence[ByteRange]) -> list[ByteRange]:
    kept: list[ByteRange] = []
    for part in parts:
        near = [other for other in kept if other.start <= part.end and part.start <= other.end]
        start = min(part.start, *(other.start for other in near)) if near else part.start
        end = max(part.end, *(other.end for other in near)) if near else part.end
        place = kept.index(near[0]) if near else len(kept)
        kept = [other for other in kept if other not in near]
        kept.insert(place, ByteRange(start, end - start))
    return kept

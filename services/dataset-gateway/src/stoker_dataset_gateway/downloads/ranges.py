"""The Range and If-Range headers, as RFC 9110 has them, for one range of bytes."""

import re
from dataclasses import dataclass

from stoker_dataset_gateway.errors import RangeUnsatisfiable

_UNIT = re.compile(r"\s*([!#$%&'*+.^_`|~0-9A-Za-z-]+)\s*=")
_ONE_RANGE = re.compile(r"\s*bytes\s*=\s*(\d{0,19})\s*-\s*(\d{0,19})\s*", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ByteRange:
    """`length` bytes from `start` on; both inside the file, `length` at least 1."""

    start: int
    length: int

    def content_range(self, size_bytes: int) -> str:
        """The Content-Range header."""
        return f"bytes {self.start}-{self.start + self.length - 1}/{size_bytes}"


def wanted_range(*, range_header: str | None, if_range: str | None, etag: str, size_bytes: int) -> ByteRange | None:
    """The part that the client wants, None for the whole file.

    Another unit than bytes, several ranges, and an If-Range that is not this very ETag all mean the whole file.

    Raises:
        RangeUnsatisfiable: not a range, or wholly outside the file.
    """
    if range_header is None or (if_range is not None and if_range.strip() != etag):
        return None
    unit = _UNIT.match(range_header)
    if unit is not None and (unit.group(1).lower() != "bytes" or "," in range_header):
        return None
    return _parse(range_header, size_bytes)


def _parse(header: str, size_bytes: int) -> ByteRange:
    found = _ONE_RANGE.fullmatch(header)
    if found is None:
        raise RangeUnsatisfiable(header, size_bytes=size_bytes)
    first, last = found.groups()
    if first:
        start, end = int(first), min(int(last), size_bytes - 1) if last else size_bytes - 1
        is_backward = bool(last) and int(last) < start
    else:
        start, end = max(size_bytes - int(last or 0), 0), size_bytes - 1
        is_backward = False
    if is_backward or start >= size_bytes:
        raise RangeUnsatisfiable(header, size_bytes=size_bytes)
    return ByteRange(start, end - start + 1)

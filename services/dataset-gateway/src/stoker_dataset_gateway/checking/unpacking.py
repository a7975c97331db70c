"""Unpacking gzip and zstd as a stream."""

import zlib
from collections.abc import Callable, Iterator
from typing import Protocol

from backports.zstd import ZstdDecompressor, ZstdError

from stoker_dataset_gateway.checking.faults import RowFaulty
from stoker_dataset_gateway.checking.file_kinds import Packing
from stoker_dataset_gateway.checking.rules import FaultCode

_STEP = 2**20


def unpacked(blocks: Iterator[bytes], packing: Packing, *, limit: int) -> Iterator[bytes]:
    """The unpacked bytes, at most a MiB at a time; members or frames may follow each other.

    Raises:
        RowFaulty: broken, cut, or more than `limit` bytes.
    """
    broken = _BROKEN[packing]
    part: _Part | None = None
    total = 0
    try:
        for block in blocks:
            data = block
            while data:
                if part is None:
                    data = data.lstrip(b"\0") if packing is Packing.GZIP else data  # padding after a member
                    if not data:
                        break
                    part = _PARTS[packing]()
                for piece in part.unpack(data):
                    total += len(piece)
                    if total > limit:
                        raise RowFaulty(FaultCode.UNPACKED_TOO_LARGE, limit=limit)
                    yield piece
                data = part.rest
                part = None if part.is_whole else part
    except (zlib.error, ZstdError) as error:
        raise RowFaulty(broken, reason=str(error)) from None
    if part is not None:
        raise RowFaulty(broken, reason="the end is missing")


class _Part(Protocol):
    """A member or frame. `rest` is what follows it, `is_whole` whether its end has come."""

    rest: bytes
    is_whole: bool

    def unpack(self, data: bytes) -> Iterator[bytes]:
        """What `data` unpacks to."""


class _Member:
    def __init__(self) -> None:
        self._unpacker = zlib.decompressobj(wbits=31)
        self.rest = b""
        self.is_whole = False

    def unpack(self, data: bytes) -> Iterator[bytes]:
        while not self.is_whole:
            piece = self._unpacker.decompress(data, _STEP)
            data, self.is_whole = self._unpacker.unconsumed_tail, self._unpacker.eof
            if piece:
                yield piece
            # A full step may have left something inside, even if all of the data was taken.
            if not data and len(piece) < _STEP:
                break
        self.rest = self._unpacker.unused_data


class _Frame:
    def __init__(self) -> None:
        self._unpacker = ZstdDecompressor()
        self.rest = b""
        self.is_whole = False

    def unpack(self, data: bytes) -> Iterator[bytes]:
        while not self.is_whole:
            piece = self._unpacker.decompress(data, _STEP)
            data, self.is_whole = b"", self._unpacker.eof
            if piece:
                yield piece
            if self._unpacker.needs_input:
                break
        self.rest = self._unpacker.unused_data if self.is_whole else b""


_PARTS: dict[Packing, Callable[[], _Part]] = {Packing.GZIP: _Member, Packing.ZSTD: _Frame}
_BROKEN = {Packing.GZIP: FaultCode.BROKEN_GZIP, Packing.ZSTD: FaultCode.BROKEN_ZSTD}

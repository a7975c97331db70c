"""What kind of file it is, by name and by first bytes, and the unpacking of gzip."""

import zlib
from collections.abc import Iterator

from stoker_dataset_gateway.checking.faults import RowFaulty, fault_of
from stoker_dataset_gateway.checking.rules import FaultCode
from stoker_shared.rpc.dataset_gateway import RowFault

LINE_SUFFIXES = (".jsonl", ".ndjson")
FOREIGN_SUFFIXES = {
    ".json": "A .json file",
    ".csv": "CSV",
    ".tsv": "TSV",
    ".parquet": "Parquet",
    ".arrow": "Arrow",
    ".txt": "Plain text",
    ".xlsx": "Excel",
    ".zip": "A zip archive",
    ".zst": "zstd compression",
    ".bz2": "bzip2 compression",
    ".xz": "xz compression",
    ".tar": "A tar archive",
    ".tgz": "A tar archive",
}
FOREIGN_MAGIC = {
    b"PAR1": "Parquet",
    b"ARROW1": "Arrow",
    b"PK\x03\x04": "A zip archive (or Excel)",
    b"\x28\xb5\x2f\xfd": "zstd compression",
    b"BZh": "bzip2 compression",
    b"\xfd7zXZ": "xz compression",
}
GZIP_MAGIC = b"\x1f\x8b"
MAGIC_BYTES = 8
UTF8_BOM = b"\xef\xbb\xbf"

_UNPACK_STEP = 2**20


def is_gzip_name(filename: str) -> bool:
    """Whether the name says gzip."""
    return filename.lower().endswith(".gz")


def name_fault(filename: str) -> RowFault | None:
    """What is wrong with the name, which says how the file is read, here and by the trainer."""
    bare = filename.lower().removesuffix(".gz")
    if bare.endswith(LINE_SUFFIXES):
        return None
    suffix = next((known for known in FOREIGN_SUFFIXES if bare.endswith(known)), "")
    found = FOREIGN_SUFFIXES.get(suffix, "A file of this name")
    return fault_of(RowFaulty(FaultCode.UNSUPPORTED_FILE, found=found), line=0, excerpt=filename)


def magic_fault(start: bytes, filename: str) -> RowFaulty | None:
    """What is wrong with the first bytes, `MAGIC_BYTES` of them or fewer if the file has no more."""
    for magic, found in FOREIGN_MAGIC.items():
        if start.startswith(magic):
            return RowFaulty(FaultCode.UNSUPPORTED_FILE, found=found)
    is_gzip = start.startswith(GZIP_MAGIC)
    if is_gzip_name(filename) and start and not is_gzip:
        return RowFaulty(FaultCode.NOT_GZIP)
    if is_gzip and not is_gzip_name(filename):
        return RowFaulty(FaultCode.UNNAMED_GZIP)
    return None


class Unpacker:
    """Unpacks gzip, also of several members, a bounded step at a time."""

    def __init__(self, *, limit: int) -> None:
        self._limit = limit
        self._unpacked = 0
        self._member = _new_member()
        self._is_between_members = True

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Unpacked bytes, at most a MiB each.

        Raises:
            RowFaulty: broken, or more than the limit.
        """
        while data:
            if self._is_between_members:
                data = data.lstrip(b"\0")  # padding after a member is allowed
                if not data:
                    return
            self._is_between_members = False
            piece = self._step(data)
            if piece:
                yield piece
            data = self._rest()

    def finish(self) -> None:
        """Check that the last member is whole.

        Raises:
            RowFaulty: it is not.
        """
        if not self._is_between_members:
            raise RowFaulty(FaultCode.BROKEN_GZIP, reason="the end is missing")

    def _step(self, data: bytes) -> bytes:
        try:
            piece = self._member.decompress(data, _UNPACK_STEP)
        except zlib.error as error:
            raise RowFaulty(FaultCode.BROKEN_GZIP, reason=str(error)) from None
        self._unpacked += len(piece)
        if self._unpacked > self._limit:
            raise RowFaulty(FaultCode.UNPACKED_TOO_LARGE, limit=self._limit)
        return piece

    def _rest(self) -> bytes:
        if not self._member.eof:
            return self._member.unconsumed_tail
        rest = self._member.unused_data
        self._member = _new_member()
        self._is_between_members = True
        return rest


def _new_member() -> "zlib._Decompress":
    return zlib.decompressobj(wbits=31)

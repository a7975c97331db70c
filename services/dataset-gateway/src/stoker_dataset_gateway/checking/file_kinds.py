"""What kind of file it is, by its name, and whether its first bytes agree."""

from enum import StrEnum
from typing import NamedTuple

from stoker_dataset_gateway.checking.faults import RowFaulty, fault_of
from stoker_dataset_gateway.checking.rules import FaultCode
from stoker_shared.rpc.dataset_gateway import RowFault


class FileKind(StrEnum):
    """How the rows stand in the file."""

    JSON_LINES = "JSON Lines"
    JSON = "JSON array"
    CSV = "CSV"
    PARQUET = "Parquet"
    ARROW = "Arrow, IPC file or stream"


class Packing(StrEnum):
    """How the file is compressed."""

    GZIP = "gzip"
    ZSTD = "zstd"


KINDS: dict[FileKind, tuple[str, ...]] = {
    FileKind.JSON_LINES: (".jsonl", ".ndjson"),
    FileKind.JSON: (".json",),
    FileKind.CSV: (".csv",),
    FileKind.PARQUET: (".parquet",),
    FileKind.ARROW: (".arrow", ".feather"),
}
PACKINGS: dict[str, Packing] = {".gz": Packing.GZIP, ".zst": Packing.ZSTD}
FOREIGN_SUFFIXES = {
    ".tsv": "TSV",
    ".txt": "Plain text",
    ".xlsx": "Excel",
    ".zip": "A zip archive",
    ".bz2": "A bzip2 archive",
    ".xz": "An xz archive",
    ".tar": "A tar archive",
    ".tgz": "A tar archive",
}
MAGIC_OF_PACKING = {Packing.GZIP: b"\x1f\x8b", Packing.ZSTD: b"\x28\xb5\x2f\xfd"}
_ZSTD_SKIPPABLE = tuple(bytes([number, 0x2A, 0x4D, 0x18]) for number in range(0x50, 0x60))
FOREIGN_MAGIC = {
    b"PK\x03\x04": "A zip archive (or Excel)",
    b"BZh": "A bzip2 archive",
    b"\xfd7zXZ": "An xz archive",
    b"\x89HDF": "HDF5",
    b"SQLite format": "An SQLite database",
}
MAGIC_OF_KIND = {b"PAR1": FileKind.PARQUET, b"ARROW1": FileKind.ARROW}
OTHER_ENCODINGS = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16", b"\x00\x00\xfe\xff": "UTF-32"}
MAGIC_BYTES = 16
UTF8_BOM = b"\xef\xbb\xbf"
TEXT_KINDS = frozenset({FileKind.JSON_LINES, FileKind.JSON, FileKind.CSV})


class FileName(NamedTuple):
    """What a name says of its file."""

    kind: FileKind
    packing: Packing | None


def read_name(filename: str) -> FileName | None:
    """What the name says; it decides how the file is read, here and by the trainer. None: not taken."""
    bare, packing = filename.lower(), None
    for suffix, known in PACKINGS.items():
        if bare.endswith(suffix):
            bare, packing = bare.removesuffix(suffix), known
            break
    kind = next((kind for kind, suffixes in KINDS.items() if bare.endswith(suffixes)), None)
    return FileName(kind, packing) if kind else None


def name_fault(filename: str) -> RowFault | None:
    """What is wrong with the name."""
    if read_name(filename) is not None:
        return None
    return fault_of(unsupported(filename), line=0, excerpt=filename)


def unsupported(filename: str) -> RowFaulty:
    """A name that is not taken."""
    bare = filename.lower()
    for suffix in PACKINGS:
        bare = bare.removesuffix(suffix)
    suffix = next((known for known in FOREIGN_SUFFIXES if bare.endswith(known)), "")
    return RowFaulty(FaultCode.UNSUPPORTED_FILE, found=FOREIGN_SUFFIXES.get(suffix, "A file of this name"))


def packing_fault(start: bytes, packing: Packing | None) -> RowFaulty | None:
    """What is wrong with the first bytes of the file as it came."""
    found = _packing_of(start)
    if start and packing is Packing.GZIP and found is not packing:
        return RowFaulty(FaultCode.NOT_GZIP)
    if start and packing is Packing.ZSTD and found is not packing:
        return RowFaulty(FaultCode.NOT_ZSTD)
    if packing is None and found is not None:
        return RowFaulty(FaultCode.UNNAMED_GZIP if found is Packing.GZIP else FaultCode.UNNAMED_ZSTD)
    return None


def content_fault(start: bytes, kind: FileKind) -> RowFaulty | None:
    """What is wrong with the first bytes of the unpacked file."""
    found = _foreign(start, kind)
    if found:
        return RowFaulty(FaultCode.UNSUPPORTED_FILE, found=found)
    if kind in TEXT_KINDS:
        encoding = next((name for magic, name in OTHER_ENCODINGS.items() if start.startswith(magic)), None)
        return RowFaulty(FaultCode.NOT_UTF8_FILE, found=encoding) if encoding else None
    if kind is FileKind.PARQUET and start and not start.startswith(b"PAR1"):
        return RowFaulty(FaultCode.NOT_PARQUET, reason="the first bytes are not PAR1")
    return None


def _packing_of(start: bytes) -> Packing | None:
    if start.startswith(_ZSTD_SKIPPABLE):
        return Packing.ZSTD
    return next((packing for packing, magic in MAGIC_OF_PACKING.items() if start.startswith(magic)), None)


def _foreign(start: bytes, kind: FileKind) -> str:
    for magic, found in FOREIGN_MAGIC.items():
        if start.startswith(magic):
            return found
    for magic, known in MAGIC_OF_KIND.items():
        if start.startswith(magic) and known is not kind:
            return f"{known.value} under the name of {kind.value}"
    return ""

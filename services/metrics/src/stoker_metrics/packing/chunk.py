"""The form of a chunk: lines as JSON Lines, compressed with zstd. Pure."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from backports.zstd import CompressionParameter, ZstdDecompressor, compress

from stoker_shared.rpc.metrics import Line

MOST_LINES = 5_000
MOST_BYTES = 4 * 2**20
_MOST_UNPACKED = 64 * 2**20
_COMPRESSION: dict[int, int] = {CompressionParameter.compression_level: 6, CompressionParameter.checksum_flag: 1}


@dataclass(frozen=True, slots=True)
class Packed:
    """A chunk and what its index says of it."""

    content: bytes
    sha256: str
    first_sequence: int
    last_sequence: int
    first_at: datetime
    last_at: datetime
    streams: list[str]
    text_bytes: int


def next_run(lines: Sequence[Line]) -> list[Line]:
    """The first lines without a hole between them, as many as one chunk may have; at least one if there are any."""
    run: list[Line] = []
    size = 0
    for line in lines[:MOST_LINES]:
        size += len(line.text.encode())
        if run and (line.sequence != run[-1].sequence + 1 or size > MOST_BYTES):
            break
        run.append(line)
    return run


def pack(lines: Sequence[Line]) -> Packed:
    """Lines of consecutive sequences as a chunk."""
    raw = b"".join(line.model_dump_json().encode() + b"\n" for line in lines)
    content = compress(raw, options=_COMPRESSION)
    return Packed(
        content=content,
        sha256=hashlib.sha256(content).hexdigest(),
        first_sequence=lines[0].sequence,
        last_sequence=lines[-1].sequence,
        first_at=min(line.at for line in lines),
        last_at=max(line.at for line in lines),
        streams=sorted({line.stream for line in lines}),
        text_bytes=sum(len(line.text.encode()) for line in lines),
    )


def unpack(content: bytes) -> list[Line]:
    """The lines of a chunk, in order.

    Raises:
        ZstdError: it is damaged.
    """
    raw = ZstdDecompressor().decompress(content, max_length=_MOST_UNPACKED)
    return [Line.model_validate_json(line) for line in raw.splitlines()]

"""The headers of a download."""

import re
from collections.abc import Sequence
from secrets import token_hex
from urllib.parse import quote

from stoker_dataset_gateway.downloads.conditions import is_compressible
from stoker_dataset_gateway.downloads.ranges import ByteRange
from stoker_dataset_gateway.downloads.service import ServedFile

MEDIA_TYPE = "application/octet-stream"
_NOT_PLAIN = re.compile(r"[^ !#$&+.0-9A-Z^_`a-z{}()~,@=\[\]-]")

Segment = bytes | ByteRange
"""What a body consists of: bytes of ours, and parts of the file."""


def disposition(filename: str) -> str:
    """Content-Disposition for any name (RFC 6266): never opened in a browser, never a folder, never a second header."""
    name = re.split(r"[/\\]", filename)[-1] or "download"
    plain = _NOT_PLAIN.sub("_", name)
    told = f'attachment; filename="{plain}"'
    return told if plain == name else f"{told}; filename*=UTF-8''{quote(name, safe='', errors='replace')}"


def common_headers(file: ServedFile, *, etag: str) -> dict[str, str]:
    """What 200, 206 and 304 tell alike."""
    headers = {"ETag": etag, "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
    if file.validators.last_modified:
        headers["Last-Modified"] = file.validators.last_modified
    if is_compressible(file.filename, file.size_bytes):
        headers["Vary"] = "Accept-Encoding"
    return headers


def whole(file: ServedFile) -> tuple[dict[str, str], list[Segment]]:
    """Headers and body of the file as it is."""
    segments: list[Segment] = [ByteRange(0, file.size_bytes)] if file.size_bytes else []
    return _headers(file, size=file.size_bytes, media_type=MEDIA_TYPE), segments


def gzipped(file: ServedFile) -> dict[str, str]:
    """Headers of the file packed on the way; its length is not known before its end."""
    return {
        **common_headers(file, etag=file.validators.gzip_etag),
        "Content-Type": MEDIA_TYPE,
        "Content-Encoding": "gzip",
        "Content-Disposition": disposition(file.filename),
    }


def partial(file: ServedFile, parts: Sequence[ByteRange]) -> tuple[dict[str, str], list[Segment]]:
    """Headers and body of one range, or of several as multipart/byteranges."""
    if len(parts) == 1:
        headers = _headers(file, size=parts[0].length, media_type=MEDIA_TYPE)
        return {**headers, "Content-Range": parts[0].content_range(file.size_bytes)}, [parts[0]]
    boundary = token_hex(16)
    segments: list[Segment] = []
    for part in parts:
        head = f"--{boundary}\r\nContent-Type: {MEDIA_TYPE}\r\nContent-Range: {part.content_range(file.size_bytes)}"
        before = "\r\n" if segments else ""
        segments += [f"{before}{head}\r\n\r\n".encode(), part]
    segments.append(f"\r\n--{boundary}--\r\n".encode())
    size = sum(len(segment) if isinstance(segment, bytes) else segment.length for segment in segments)
    return _headers(file, size=size, media_type=f"multipart/byteranges; boundary={boundary}"), segments


def _headers(file: ServedFile, *, size: int, media_type: str) -> dict[str, str]:
    return {
        **common_headers(file, etag=file.validators.etag),
        "Content-Type": media_type,
        "Content-Length": str(size),
        "Accept-Ranges": "bytes",
        "Content-Disposition": disposition(file.filename),
    }

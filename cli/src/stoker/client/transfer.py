"""Bytes: hashing a file, reading it from where a transfer goes on, and fetching one with a compared checksum."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx

from stoker.client.errors import ConnectionLost, DownloadDamaged, FileUnreadable
from stoker.client.http import RetryPolicy, open_http, send, shown

CHUNK_BYTES = 1 << 18
Progress = Callable[[int, int], None]
"""Told as (bytes done, bytes in all); goes back when a transfer starts again."""


@dataclass(frozen=True, slots=True)
class FileFacts:
    """A file as it was when it was hashed."""

    path: Path
    size_bytes: int
    sha256: str


def hash_file(path: Path, *, progress: Progress | None = None) -> FileFacts:
    """Read a file once for its SHA-256.

    Raises:
        FileUnreadable: there is no such file, or it cannot be read.
    """
    digest, done = hashlib.sha256(), 0
    total = _size(path)
    for chunk in chunks(path):
        digest.update(chunk)
        done += len(chunk)
        if progress:
            progress(done, max(total, done))
    return FileFacts(path=path, size_bytes=done, sha256=digest.hexdigest())


def download(
    *,
    url: str,
    target: Path,
    size_bytes: int,
    sha256: str,
    retry: RetryPolicy,
    progress: Progress | None = None,
) -> Path:
    """Fetch a file, going on where a broken transfer stopped; it appears under its name only when it is whole.

    Raises:
        DownloadDamaged: its SHA-256 differs; nothing is kept.
        Refused: the server said no.
        FileUnreadable: the folder cannot be written.
    """
    partial = target.with_name(f".{target.name}.{sha256[:12]}.part")
    rest = _Rest(partial, size_bytes, etag=f'"{sha256}"')
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with open_http(url) as client:
            while _size_or_nothing(partial) != size_bytes:
                retry.run(lambda: _fetch_rest(client, url, rest=rest, progress=progress))
        actual = hash_file(partial).sha256
        if actual != sha256:
            partial.unlink()
            raise DownloadDamaged(target.name, expected=sha256, actual=actual)
        partial.replace(target)
    except OSError as error:
        raise FileUnreadable(target, error.strerror or str(error)) from error
    return target


@dataclass(frozen=True, slots=True)
class _Rest:
    """A file that has come in part. The gateway's ETag of a file is its SHA-256."""

    partial: Path
    size_bytes: int
    etag: str


def _fetch_rest(client: httpx.Client, url: str, *, rest: _Rest, progress: Progress | None) -> None:
    partial, size_bytes = rest.partial, rest.size_bytes
    have = _size_or_nothing(partial) or 0
    if have > size_bytes:
        partial.unlink()
        have = 0
    # Compressed answers would make byte positions meaningless.
    headers = {"Accept-Encoding": "identity"}
    if have:
        # Should the bytes behind the address have changed, the whole file comes instead of a wrong end.
        headers |= {"Range": f"bytes={have}-", "If-Range": rest.etag}
    response = send(client, client.build_request("GET", url, headers=headers), stream=True)
    is_continued = response.status_code == httpx.codes.PARTIAL_CONTENT
    done = have if is_continued else 0
    try:
        with partial.open("ab" if is_continued else "wb") as file:
            # As it comes: a fixed size would hold back, and lose, what has arrived when the connection breaks.
            for chunk in response.iter_raw():
                file.write(chunk)
                done += len(chunk)
                if progress:
                    progress(done, size_bytes)
    except httpx.TransportError as error:
        if done <= have:
            raise ConnectionLost(shown(url), str(error) or type(error).__name__) from error
        return  # some more has come: the caller goes on from there, and the pauses begin anew
    finally:
        response.close()
    if done <= have and done < size_bytes:
        raise ConnectionLost(shown(url), f"the transfer ended after {done} of {size_bytes} bytes")


def chunks(path: Path, *, offset: int = 0) -> Iterator[bytes]:
    """The bytes of a file from `offset` on.

    Raises:
        FileUnreadable.
    """
    try:
        with path.open("rb") as file:
            file.seek(offset)
            while chunk := file.read(CHUNK_BYTES):
                yield chunk
    except OSError as error:
        raise FileUnreadable(path, error.strerror or str(error)) from error


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as error:
        raise FileUnreadable(path, error.strerror or str(error)) from error


def _size_or_nothing(path: Path) -> int | None:
    return path.stat().st_size if path.exists() else None

"""What runs in the child process: jobs come through a pipe, reports go back."""

import hashlib
import queue
import resource
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Literal, Self

import urllib3
from minio import Minio
from minio.error import MinioException
from urllib3.exceptions import HTTPError

from stoker_dataset_gateway.checking.file_check import check_file
from stoker_dataset_gateway.checking.limits import CheckLimits
from stoker_dataset_gateway.checking.result import CheckResult
from stoker_dataset_gateway.lengths.counting import TokenFigures, TokenRequest, count_tokens
from stoker_shared.object_store.address import StoreAddress
from stoker_shared.object_store.client import client_of
from stoker_shared.object_store.faults import fault_of

_BLOCK_BYTES = 2**20
_BLOCKS_AHEAD = 8
_REPORT_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class StoredFile:
    """An object that is to be checked. `sha256` and `size_bytes` are what was announced."""

    address: StoreAddress
    key: str
    filename: str
    sha256: str
    size_bytes: int
    is_converted_if_possible: bool = True


@dataclass(frozen=True, slots=True)
class TokenJob:
    """Rows of a stored file are to be counted in tokens."""

    file: StoredFile
    request: TokenRequest


@dataclass(frozen=True, slots=True)
class Progress:
    """Still working."""

    bytes_read: int


@dataclass(frozen=True, slots=True)
class Finished:
    """The check has a result, good or bad."""

    result: CheckResult | TokenFigures


@dataclass(frozen=True, slots=True)
class Refused:
    """The bytes are not to be had, or not the right ones."""

    kind: Literal["checksum", "missing", "store"]
    detail: str


@dataclass(frozen=True, slots=True)
class Failed:
    """The check itself broke down."""

    reason: str


Report = Progress | Finished | Refused | Failed


def serve_checks(pipe: Connection, limits: CheckLimits) -> None:
    """Check file after file until the other side goes away."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent ends us
    if limits.memory_bytes:
        resource.setrlimit(resource.RLIMIT_AS, (limits.memory_bytes, limits.memory_bytes))
    while True:
        try:
            job: StoredFile | TokenJob = pipe.recv()
        except EOFError:
            return
        try:
            pipe.send(_done(job, limits, pipe))
        except BrokenPipeError:
            return


def _done(job: StoredFile | TokenJob, limits: CheckLimits, pipe: Connection) -> Report:
    try:
        return _measured(job, limits, pipe) if isinstance(job, TokenJob) else _checked(job, limits, pipe)
    except (MinioException, HTTPError) as error:
        fault = fault_of(error)
        return Refused("missing" if fault.kind == "object_missing" else "store", fault.code)
    except MemoryError:
        return Failed(f"it needed more than {limits.memory_bytes} bytes of memory")
    except Exception as error:  # noqa: BLE001 - whatever a stranger's file brings about must not end as silence
        traceback.print_exc()
        return Failed(f"{type(error).__name__}")


def _measured(job: TokenJob, limits: CheckLimits, pipe: Connection) -> Report:
    with _StoreStream(job.file, lambda read: pipe.send(Progress(read))) as stream:
        return Finished(count_tokens(stream.blocks(), job.file.filename, job.request, limits=limits))


def _checked(file: StoredFile, limits: CheckLimits, pipe: Connection) -> Report:
    with _StoreStream(file, lambda read: pipe.send(Progress(read))) as stream:
        blocks = stream.blocks()
        result = check_file(
            blocks,
            file.filename,
            limits=limits,
            is_converted=file.is_converted_if_possible,
            pulse=stream.tell,
        )
        for _ in blocks:  # a check that gave up early leaves the rest, but the checksum is of all
            stream.tell()
        received = stream.sha256()
    if received != (file.sha256, file.size_bytes):
        return Refused("checksum", f"{received[1]} bytes with SHA-256 {received[0]}")
    return Finished(result)


class _StoreStream:
    """An object's bytes, fetched and hashed in a thread while others are being checked."""

    def __init__(self, file: StoredFile, report: Callable[[int], None]) -> None:
        self._file = file
        self._report = report
        self._told_at = 0.0
        self._taken = 0
        self._waiting: queue.Queue[bytes | Exception | None] = queue.Queue(maxsize=_BLOCKS_AHEAD)
        self._digest = hashlib.sha256()
        self._bytes = 0
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._fetch, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def blocks(self) -> Iterator[bytes]:
        """In order. Raises what fetching raised."""
        while (block := self._waiting.get()) is not None:
            if isinstance(block, Exception):
                raise block
            self._taken += len(block)
            self.tell()
            yield block

    def tell(self) -> None:
        """Report progress, now and then: silence means that something hangs."""
        now = time.monotonic()
        if now - self._told_at >= _REPORT_SECONDS:
            self._told_at = now
            self._report(self._taken)

    def sha256(self) -> tuple[str, int]:
        """Of all bytes, and how many there were; after the last block."""
        return self._digest.hexdigest(), self._bytes

    def _fetch(self) -> None:
        try:
            with _opened(self._file) as response:
                while block := response.read(_BLOCK_BYTES):
                    self._digest.update(block)
                    self._bytes += len(block)
                    if not self._hand_over(block):
                        return
            self._hand_over(None)
        except (MinioException, HTTPError, OSError) as error:
            self._hand_over(error if isinstance(error, MinioException) else HTTPError(type(error).__name__))

    def _hand_over(self, block: bytes | Exception | None) -> bool:
        while not self._is_over.is_set():
            try:
                self._waiting.put(block, timeout=0.2)
            except queue.Full:
                continue
            return True
        return False


@contextmanager
def _opened(file: StoredFile) -> Iterator[urllib3.BaseHTTPResponse]:
    address = file.address
    client = client_of(address, Minio, connections=1)
    response = client.get_object(address.bucket, file.key)
    try:
        yield response
    finally:
        response.close()
        response.release_conn()

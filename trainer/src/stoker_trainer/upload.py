"""Sending the result to the gateway: each file streamed, checksummed, sent again until it is there."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from urllib.parse import quote

import httpx
from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_delay, wait_exponential_jitter

from stoker_trainer.delivery import retry_after_seconds
from stoker_trainer.errors import ArtifactUploadFailed, TokenRejected
from stoker_trainer.files import CHUNK_BYTES, sha256_of_file
from stoker_trainer.receipt import output_files

RETRIED_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})
CHECKSUM_HEADER = "X-Content-SHA256"


class _TryAgain(Exception):
    def __init__(self, detail: str, *, after_seconds: float | None = None) -> None:
        super().__init__(detail)
        self.after_seconds = after_seconds


def upload_folder(
    folder: Path,
    *,
    url: str,
    token: str,
    log: Callable[[str], None],
    give_up_after: timedelta = timedelta(minutes=30),
) -> int:
    """PUT every file of `folder` below `url`, the receipt last, and return how many.

    Idempotent: a file that is there with the same checksum counts as sent. `give_up_after` is per file.
    Raises ArtifactUploadFailed, TokenRejected.
    """
    files = output_files(folder)
    timeout = httpx.Timeout(30, read=300)  # the store may check a large file before it answers
    headers = {"Authorization": f"Bearer {token}"}
    with httpx.Client(timeout=timeout, headers=headers) as client:
        for path in files:
            name = path.relative_to(folder).as_posix()
            _upload(client, f"{url.rstrip('/')}/{quote(name)}", path=path, give_up_after=give_up_after, log=log)
            log(f"stored {name} ({path.stat().st_size} bytes)")
    return len(files)


def _upload(
    client: httpx.Client, url: str, *, path: Path, give_up_after: timedelta, log: Callable[[str], None]
) -> None:
    sha256 = sha256_of_file(path)
    retrying = Retrying(
        retry=retry_if_exception_type((_TryAgain, httpx.TransportError)),
        wait=_wait,
        stop=stop_after_delay(give_up_after.total_seconds()),
        before_sleep=lambda state: log(f"{path.name} not stored yet ({_error(state)}); trying again"),
        reraise=True,
    )
    try:
        retrying(_put, client, url, path, sha256)
    except (_TryAgain, httpx.TransportError) as error:
        raise ArtifactUploadFailed(f"{path.name} could not be stored within {give_up_after}: {error}") from error


def _put(client: httpx.Client, url: str, path: Path, sha256: str) -> None:
    headers = {
        CHECKSUM_HEADER: sha256,
        "Content-Length": str(path.stat().st_size),
        "Content-Type": "application/octet-stream",
    }
    response = client.put(url, content=_chunks(path), headers=headers)
    status = response.status_code
    if response.is_success:
        return
    if status == 409 and _stored_sha256(response) == sha256:
        return
    if status == 401:
        raise TokenRejected("the dataset gateway")
    detail = f"the gateway answered {status}: {response.text[:300]}"
    if status in RETRIED_STATUSES:
        raise _TryAgain(detail, after_seconds=retry_after_seconds(response))
    raise ArtifactUploadFailed(f"{path.name} was refused: {detail}")


def _stored_sha256(response: httpx.Response) -> str | None:
    """What the gateway says it has under this name."""
    try:
        body = response.json()
    except ValueError:
        body = None
    stored = body.get("sha256") if isinstance(body, dict) else None
    return stored or response.headers.get(CHECKSUM_HEADER) or response.headers.get("ETag", "").strip('"') or None


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk


def _error(state: RetryCallState) -> BaseException | None:
    return state.outcome.exception() if state.outcome else None


def _wait(state: RetryCallState) -> float:
    error = _error(state)
    asked = error.after_seconds if isinstance(error, _TryAgain) else None
    return asked if asked is not None else wait_exponential_jitter(multiplier=0.5, max=30)(state)

"""Fetching the dataset: resumed, retried, checked against its SHA-256, unpacked."""

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import httpx
from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_delay, wait_exponential_jitter

from stoker_trainer.delivery import retry_after_seconds
from stoker_trainer.errors import DatasetChecksumMismatch, DatasetUnreadable
from stoker_trainer.files import CHUNK_BYTES, sha256_of_file
from stoker_trainer.packing import open_unpacked, packing_of

FINAL_STATUSES: dict[int, str] = {
    400: "the address carries no download token",
    401: "the download token is unknown, expired or revoked",
    403: "the download token does not open this dataset",
    404: "the dataset is gone from the store",
    410: "the dataset is gone from the store",
}
"""Answers that do not get better by asking again."""


@dataclass(frozen=True)
class Renewal:
    """Where a pod asks for a fresh address when its download token has run out, and the job token to ask with."""

    url: str
    job_token: str = field(repr=False)


class _TryAgain(Exception):
    def __init__(self, detail: str, *, after_seconds: float | None = None) -> None:
        super().__init__(detail)
        self.after_seconds = after_seconds


class _Address:
    """Where the dataset is now. A fresh address that was never good is not renewed again."""

    def __init__(self, url: str, renewal: Renewal | None) -> None:
        self.url = url
        self._renewal = renewal
        self._can_renew = renewal is not None

    def was_good(self) -> None:
        """The gateway served from it, so it may be renewed when it runs out."""
        self._can_renew = self._renewal is not None

    def renew(self, client: httpx.Client) -> None:
        """Ask for another. Raises DatasetUnreadable, _TryAgain."""
        if self._renewal is None or not self._can_renew:
            raise DatasetUnreadable(f"the gateway answered 401: {FINAL_STATUSES[401]}. Launch the job again.")
        response = client.post(self._renewal.url, headers={"Authorization": f"Bearer {self._renewal.job_token}"})
        if response.status_code != 201:
            if response.status_code in FINAL_STATUSES:
                raise DatasetUnreadable(
                    f"the download token ran out, and asking for another was answered with {response.status_code}. "
                    "The attempt is over, or its dataset is gone: launch the job again."
                )
            raise _TryAgain(
                f"renewing the download token: the gateway answered {response.status_code}",
                after_seconds=retry_after_seconds(response),
            )
        self.url = str(response.json()["download_url"])
        self._can_renew = False


def download_dataset(  # noqa: PLR0913 - each is a fact of its own
    url: str,
    *,
    folder: Path,
    filename: str,
    sha256: str,
    log: Callable[[str], object],
    give_up_after: timedelta = timedelta(minutes=10),
    renewal: Renewal | None = None,
) -> Path:
    """The dataset as a plain file in `folder`; `sha256` is that of the file as it is served.

    A part that is there already is continued; if the address runs out on the way, `renewal` gives another.
    Raises DatasetUnreadable, DatasetChecksumMismatch.
    """
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / (Path(filename).name or "dataset.jsonl")
    address = _Address(url, renewal)
    with httpx.Client(timeout=30, follow_redirects=True) as client:
        actual = ""
        for attempt in (1, 2):
            if not target.exists():
                _fetch(client, address, target=target, give_up_after=give_up_after, log=log)
            actual = sha256_of_file(target)
            if actual == sha256.lower():
                log(f"dataset {target.name}: {target.stat().st_size} bytes, SHA-256 as expected")
                return _unpack(target)
            target.unlink()
            log(f"dataset {target.name}: wrong SHA-256 in try {attempt}")
    raise DatasetChecksumMismatch(expected=sha256, actual=actual)


def _fetch(
    client: httpx.Client, address: _Address, *, target: Path, give_up_after: timedelta, log: Callable[[str], object]
) -> None:
    part = target.with_name(f"{target.name}.part")

    def before_sleep(state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        log(f"dataset download interrupted ({error}); continuing at byte {_size(part)}")

    retrying = Retrying(
        retry=retry_if_exception_type((_TryAgain, httpx.TransportError)),
        wait=_wait,
        stop=stop_after_delay(give_up_after.total_seconds()),
        before_sleep=before_sleep,
        reraise=True,
    )
    try:
        retrying(_continue_part, client, address, part)
    except (_TryAgain, httpx.TransportError) as error:
        raise DatasetUnreadable(
            f"the dataset could not be fetched within {give_up_after}: {error}. Is the gateway reachable from here?"
        ) from error
    part.replace(target)


def _wait(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    asked = error.after_seconds if isinstance(error, _TryAgain) else None
    return asked if asked is not None else wait_exponential_jitter(multiplier=0.5, max=30)(state)


def _continue_part(client: httpx.Client, address: _Address, part: Path) -> None:
    etag_file = part.with_name(f"{part.name}.etag")
    start = _size(part)
    # Without identity a proxy may compress, and byte ranges and checksum would mean something else.
    headers = {"Accept-Encoding": "identity"}
    if start and etag_file.exists():
        headers |= {"Range": f"bytes={start}-", "If-Range": etag_file.read_text()}
    with client.stream("GET", address.url, headers=headers) as response:
        if response.status_code == 401:
            address.renew(client)
            raise _TryAgain("the download token ran out and was renewed", after_seconds=0)
        if response.status_code == 416:
            part.unlink()
            raise _TryAgain("the part on disk is longer than the dataset", after_seconds=0)
        _raise_for_status(response)
        address.was_good()
        if "ETag" in response.headers:
            etag_file.write_text(response.headers["ETag"])
        with part.open("ab" if response.status_code == 206 else "wb") as file:
            for chunk in response.iter_raw():  # unbuffered: what arrived before a break is kept
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
    etag_file.unlink(missing_ok=True)


def _raise_for_status(response: httpx.Response) -> None:
    # httpx's own error text holds the address and with it the token.
    status = response.status_code
    if status in {200, 206}:
        return
    if status in FINAL_STATUSES:
        raise DatasetUnreadable(f"the gateway answered {status}: {FINAL_STATUSES[status]}. Launch the job again.")
    raise _TryAgain(f"the gateway answered {status}", after_seconds=retry_after_seconds(response))


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _unpack(path: Path) -> Path:
    if packing_of(path) is None:
        return path
    plain, partial = path.with_suffix(""), path.with_suffix(".unpacking")
    try:
        with open_unpacked(path) as source, partial.open("wb") as target:
            shutil.copyfileobj(source, target, CHUNK_BYTES)
    except DatasetUnreadable:
        partial.unlink(missing_ok=True)
        raise
    partial.replace(plain)
    return plain

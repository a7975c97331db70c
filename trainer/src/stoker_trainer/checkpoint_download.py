"""Fetching the checkpoint that an earlier attempt has stored, so that training goes on from there on this machine.

Every file is checked against the SHA-256 in the checkpoint's `complete.json`. A checkpoint that is damaged is passed
over for the one before it; what cannot be fetched never ends the attempt, which then begins at the first step.
"""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_delay, wait_exponential_jitter

from stoker_trainer.checkpoint_upload import MANIFEST
from stoker_trainer.checkpoints import checkpoint_step, last_whole_checkpoint
from stoker_trainer.delivery import retry_after_seconds
from stoker_trainer.errors import TokenRejected
from stoker_trainer.files import sha256_of_file

MOST_CHECKPOINTS = 20
"""So many are looked at, the newest first."""


class CheckpointDamaged(Exception):
    """What the gateway has is not what was sent, or not whole."""


class GatewayAway(Exception):
    """The gateway did not answer for good in the time there was."""


class _TryAgain(Exception):
    def __init__(self, detail: str, *, after_seconds: float | None = None) -> None:
        super().__init__(detail)
        self.after_seconds = after_seconds


@dataclass(frozen=True)
class StoredFile:
    """A file of a checkpoint, as the gateway lists it."""

    name: str
    sha256: str
    size_bytes: int


@dataclass(frozen=True)
class StoredCheckpoint:
    """A whole checkpoint at the gateway."""

    attempt: int
    step: int
    files: tuple[StoredFile, ...]

    def file(self, name: str, *, sha256: str | None = None) -> StoredFile:
        """One of its files, with this content. Raises CheckpointDamaged."""
        found = next((file for file in self.files if file.name == name), None)
        if found is None:
            raise CheckpointDamaged(f"{name} is missing")
        if sha256 is not None and found.sha256 != sha256:
            raise CheckpointDamaged(f"{name} is stored with another content than complete.json names")
        return found


class CheckpointGateway:
    """The gateway's side for checkpoints.

    `url` is `.../v1/jobs/<job>/checkpoints`; `give_up_after` is for each call.
    """

    def __init__(self, url: str, *, token: str, log: Callable[[str], object], give_up_after: timedelta) -> None:
        self._url = url.rstrip("/")
        self._log = log
        self._give_up_after = give_up_after
        # Without identity a proxy may compress, and byte ranges would mean something else.
        headers = {"Authorization": f"Bearer {token}", "Accept-Encoding": "identity"}
        self._client = httpx.Client(timeout=30, follow_redirects=True, headers=headers)

    def close(self) -> None:
        """Give the connections back."""
        self._client.close()

    def latest(self, *, skip: int) -> StoredCheckpoint | None:
        """The newest whole checkpoint after `skip` newer ones, None if there is none.

        Raises GatewayAway, TokenRejected.
        """
        found: dict[str, Any] | None = self._patiently("the list of checkpoints", lambda: self._ask_latest(skip))
        if found is None:
            return None
        files = tuple(StoredFile(file["name"], file["sha256"], file["size_bytes"]) for file in found["files"])
        return StoredCheckpoint(found["attempt"], found["step"], files)

    def fetch(self, checkpoint: StoredCheckpoint, file: StoredFile, target: Path) -> None:
        """One file, continued where it broke off and checked. Raises CheckpointDamaged, GatewayAway, TokenRejected."""
        url = f"{self._url}/{checkpoint.attempt}/{checkpoint.step}/{quote(file.name)}"
        for _ in range(2):
            self._patiently(file.name, lambda: self._continue(url, target, file))
            if sha256_of_file(target) == file.sha256:
                return
            target.unlink()
            self._log(f"checkpoint {checkpoint.step}: {file.name} arrived with a wrong SHA-256")
        raise CheckpointDamaged(f"{file.name} does not have the SHA-256 that it was stored with")

    def _ask_latest(self, skip: int) -> dict[str, Any] | None:
        response = self._client.get(f"{self._url}/latest", params={"skip": skip})
        if response.status_code == 404:
            return None
        _raise_for_status(response)
        body: dict[str, Any] = response.json()
        return body

    def _continue(self, url: str, target: Path, file: StoredFile) -> None:
        start = target.stat().st_size if target.exists() else 0
        if start >= file.size_bytes > 0:
            return
        headers = {"Range": f"bytes={start}-", "If-Range": f'"{file.sha256}"'} if start else {}
        with self._client.stream("GET", url, headers=headers) as response:
            if response.status_code == 404:
                raise CheckpointDamaged(f"{file.name} is gone from the store")
            _raise_for_status(response)
            with target.open("ab" if response.status_code == 206 else "wb") as held:
                for chunk in response.iter_raw():  # unbuffered: what arrived before a break is kept
                    held.write(chunk)
                held.flush()
                os.fsync(held.fileno())

    def _patiently(self, what: str, call: Callable[[], Any]) -> Any:
        def note(state: RetryCallState) -> None:
            self._log(f"{what}: {_error(state)}; trying again")

        retrying = Retrying(
            retry=retry_if_exception_type((_TryAgain, httpx.TransportError)),
            wait=_wait,
            stop=stop_after_delay(self._give_up_after.total_seconds()),
            before_sleep=note,
            reraise=True,
        )
        try:
            return retrying(call)
        except (_TryAgain, httpx.TransportError) as error:
            raise GatewayAway(f"{what} could not be had within {self._give_up_after}: {error}") from error


def fetch_checkpoint(
    gateway: CheckpointGateway, folder: Path, *, fingerprint: str, log: Callable[[str], object]
) -> None:
    """Put the newest good checkpoint of the run `fingerprint` into `folder`, unless a newer one is there already.

    Raises GatewayAway, TokenRejected, OSError.
    """
    here = last_whole_checkpoint(folder, fingerprint=fingerprint)
    step_here = checkpoint_step(here) if here else -1
    for skip in range(MOST_CHECKPOINTS):
        stored = gateway.latest(skip=skip)
        if stored is None or stored.step <= step_here:
            return
        partial = folder / f"fetching-{stored.attempt}-{stored.step}"
        try:
            _fetch_whole(gateway, stored, partial, fingerprint=fingerprint)
            if _take(partial, folder / f"checkpoint-{stored.step}", fingerprint=fingerprint):
                log(f"checkpoint {stored.step} of attempt {stored.attempt} fetched: {len(stored.files)} files, checked")
                return
            log(f"checkpoint {stored.step} of attempt {stored.attempt} is not whole; trying the one before")
        except CheckpointDamaged as error:
            log(f"checkpoint {stored.step} of attempt {stored.attempt} is damaged ({error}); trying the one before")
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def _fetch_whole(gateway: CheckpointGateway, stored: StoredCheckpoint, partial: Path, *, fingerprint: str) -> None:
    partial.mkdir(parents=True, exist_ok=True)
    held = partial / MANIFEST
    gateway.fetch(stored, stored.file(MANIFEST), held)
    manifest = _read_manifest(held)
    held.unlink()
    if manifest.get("fingerprint") != fingerprint:
        raise CheckpointDamaged("it belongs to a run with other settings or data")
    for entry in manifest["files"]:
        name = entry["name"]
        if Path(name).name != name:
            raise CheckpointDamaged(f"{name!r} is no name of a file")
        gateway.fetch(stored, stored.file(name, sha256=entry["sha256"]), partial / name)


def _read_manifest(path: Path) -> dict[str, Any]:
    try:
        manifest = json.loads(path.read_bytes())
    except ValueError as error:
        raise CheckpointDamaged("complete.json cannot be read") from error
    if not isinstance(manifest, dict) or not all(
        isinstance(entry, dict) and {"name", "sha256"} <= entry.keys() for entry in manifest.get("files") or [None]
    ):
        raise CheckpointDamaged("complete.json does not list files")
    return manifest


def _take(partial: Path, target: Path, *, fingerprint: str) -> bool:
    # Under its name it counts as a checkpoint, so its own seal decides last.
    shutil.rmtree(target, ignore_errors=True)
    partial.replace(target)
    if last_whole_checkpoint(target.parent, fingerprint=fingerprint) == target:
        return True
    shutil.rmtree(target)
    return False


def _raise_for_status(response: httpx.Response) -> None:
    if response.status_code == 401:
        raise TokenRejected("the dataset gateway")
    if response.status_code not in {200, 206}:
        raise _TryAgain(f"the gateway answered {response.status_code}", after_seconds=retry_after_seconds(response))


def _error(state: RetryCallState) -> BaseException | None:
    return state.outcome.exception() if state.outcome else None


def _wait(state: RetryCallState) -> float:
    error = _error(state)
    asked = error.after_seconds if isinstance(error, _TryAgain) else None
    return asked if asked is not None else wait_exponential_jitter(multiplier=0.5, max=30)(state)

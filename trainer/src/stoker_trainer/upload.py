"""Sending results to the gateway: small files whole, large ones in parts, each checksummed and sent until stored."""

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from stoker_trainer.artifacts import Accepted, ArtifactGateway, Refusal
from stoker_trainer.errors import ArtifactUploadFailed
from stoker_trainer.files import sha256_of_file
from stoker_trainer.receipt import output_files

PARTS_ABOVE_BYTES = 64 * 2**20
"""Smaller files are sent in one request: one that breaks costs seconds."""

PARTS_AT_ONCE = 4
_TRIES = 3
"""Of a whole upload by parts: the gateway may have given it up, or the parts may not fit together."""


@dataclass(frozen=True)
class UploadRules:
    """When a file goes in parts, and how many of them at once."""

    parts_above_bytes: int = PARTS_ABOVE_BYTES
    parts_at_once: int = PARTS_AT_ONCE


def upload_folder(
    folder: Path,
    *,
    url: str,
    token: str,
    log: Callable[[str], None],
    give_up_after: timedelta = timedelta(minutes=30),
    rules: UploadRules = UploadRules(),
) -> int:
    """Store every file of `folder` below `url`, the receipt last, and return how many.

    Idempotent: a file that is there with the same checksum counts as sent, and so does each part of one.
    `give_up_after` is per request. Raises ArtifactUploadFailed, TokenRejected.
    """
    files = output_files(folder)
    gateway = ArtifactGateway(url, token=token, log=log, give_up_after=give_up_after)
    try:
        for path in files:
            name = path.relative_to(folder).as_posix()
            upload_file(path, name, gateway=gateway, rules=rules)
            log(f"stored {name} ({path.stat().st_size} bytes)")
    finally:
        gateway.close()
    return len(files)


def upload_file(path: Path, name: str, *, gateway: ArtifactGateway, rules: UploadRules) -> str:
    """Store one file and return its SHA-256. Raises ArtifactUploadFailed, TokenRejected, UploadStopped."""
    if path.stat().st_size > rules.parts_above_bytes:
        return _in_parts(path, name, gateway=gateway, parts_at_once=rules.parts_at_once)
    return _whole(path, name, gateway=gateway)


def _whole(path: Path, name: str, *, gateway: ArtifactGateway) -> str:
    sha256 = sha256_of_file(path)
    answer = gateway.put_whole(path, name, sha256=sha256)
    if isinstance(answer, Refusal) and _is_damaged(answer):
        sha256 = sha256_of_file(path)
        answer = gateway.put_whole(path, name, sha256=sha256)
    if isinstance(answer, Refusal) and not _has_it(answer, sha256):
        raise ArtifactUploadFailed(f"{name} was refused: {answer}")
    return sha256


def _in_parts(path: Path, name: str, *, gateway: ArtifactGateway, parts_at_once: int) -> str:
    answer: Accepted | Refusal | None = None
    has_differed = False
    for _ in range(_TRIES):
        sha256 = sha256_of_file(path)
        begun = gateway.begin(name, size_bytes=path.stat().st_size, sha256=sha256)
        if isinstance(begun, Refusal):
            raise ArtifactUploadFailed(f"{name} was refused: {begun}")
        if begun.body.get("artifact"):
            return sha256
        upload = _Parts(path, gateway, upload_id=str(begun.body["upload_id"]), part_bytes=int(begun.body["part_bytes"]))
        stored = set(begun.body["parts_stored"])
        missing = [number for number in range(1, int(begun.body["part_count"]) + 1) if number not in stored]
        answer = upload.send(missing, at_once=parts_at_once) or _completed(upload, name, at_once=parts_at_once)
        if answer is None:
            return sha256
        if _is_damaged(answer) and has_differed:
            break
        has_differed = has_differed or _is_damaged(answer)
        if not _is_damaged(answer) and answer.code != "upload_unknown":
            break
    raise ArtifactUploadFailed(f"{name} was refused: {answer}")


def _completed(upload: "_Parts", name: str, *, at_once: int) -> Refusal | None:
    answer = upload.gateway.complete(upload.upload_id, name=name)
    if isinstance(answer, Refusal) and answer.code == "parts_missing":
        refused = upload.send(answer.parts, at_once=at_once)
        answer = refused or upload.gateway.complete(upload.upload_id, name=name)
    return answer if isinstance(answer, Refusal) else None


@dataclass(frozen=True)
class _Parts:
    """A file on its way in parts."""

    path: Path
    gateway: ArtifactGateway
    upload_id: str
    part_bytes: int

    def send(self, numbers: Sequence[int], *, at_once: int) -> Refusal | None:
        """Send these, several at a time; the first refusal ends it."""
        # Not more parts in memory than threads: each reads its own when its turn has come.
        pool = ThreadPoolExecutor(max_workers=at_once, thread_name_prefix="upload part")
        try:
            answers = pool.map(self._send_one, numbers)
            return next((answer for answer in answers if answer is not None), None)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _send_one(self, number: int) -> Refusal | None:
        answer = self._put(number)
        if isinstance(answer, Refusal) and _is_damaged(answer):
            answer = self._put(number)
        return answer if isinstance(answer, Refusal) else None

    def _put(self, number: int) -> Accepted | Refusal:
        with self.path.open("rb") as file:
            file.seek((number - 1) * self.part_bytes)
            data = file.read(self.part_bytes)
        sha256 = hashlib.sha256(data).hexdigest()
        return self.gateway.put_part(self.upload_id, number, data, sha256=sha256)


def _is_damaged(answer: Refusal) -> bool:
    return answer.status == 422 and answer.code == "checksum_mismatch"


def _has_it(answer: Refusal, sha256: str) -> bool:
    return answer.status == 409 and answer.problem.get("sha256") == sha256

"""The gateway's side for results, as one attempt sees it: each call is tried again until it is answered for good."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    sleep_using_event,
    stop_after_delay,
    stop_any,
    stop_when_event_set,
    wait_exponential_jitter,
)

from stoker_trainer.delivery import retry_after_seconds
from stoker_trainer.errors import ArtifactUploadFailed, TokenRejected
from stoker_trainer.files import CHUNK_BYTES

RETRIED_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})
CHECKSUM_HEADER = "X-Content-SHA256"
ANSWER_TIMEOUT = httpx.Timeout(30, read=300)
"""The store may take a large file in before the gateway answers."""


class _TryAgain(Exception):
    def __init__(self, detail: str, *, after_seconds: float | None = None) -> None:
        super().__init__(detail)
        self.after_seconds = after_seconds


class UploadStopped(Exception):
    """Whoever asked for the upload does not want it any more."""

    def __init__(self) -> None:
        super().__init__("the attempt ended before the gateway had taken it")


@dataclass(frozen=True)
class Refusal:
    """An answer that asking again does not change: the status, the problem's code and the whole problem."""

    status: int
    problem: dict[str, Any]
    text: str

    @property
    def code(self) -> str:
        """The stable name of what is wrong, empty if the answer is no problem of the gateway's."""
        return str(self.problem.get("code") or "")

    @property
    def parts(self) -> list[int]:
        """The parts that the problem names."""
        return [int(number) for number in self.problem.get("parts") or []]

    def __str__(self) -> str:
        return f"the gateway answered {self.status}: {self.text}"


@dataclass(frozen=True)
class Accepted:
    """A good answer."""

    status: int
    body: dict[str, Any]
    retry_after: float


class ArtifactGateway:
    """Artifacts of one attempt. May be used by several threads. `stop` ends every wait.

    `give_up_after` is for each call.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str,
        log: Callable[[str], None],
        give_up_after: timedelta,
        stop: threading.Event | None = None,
    ) -> None:
        self._url = url.rstrip("/")
        self._log = log
        self._give_up_after = give_up_after
        self._client = httpx.Client(timeout=ANSWER_TIMEOUT, headers={"Authorization": f"Bearer {token}"})
        self.stop = stop or threading.Event()
        self.is_failing = False
        """Whether the last call got no good answer yet."""

    def close(self) -> None:
        """Give the connections back."""
        self._client.close()

    def put_whole(self, path: Path, name: str, *, sha256: str) -> Accepted | Refusal:
        """Send a file in one request."""
        headers = {CHECKSUM_HEADER: sha256, "Content-Length": str(path.stat().st_size)}
        url = f"{self._url}/{quote(name)}"
        return self._call(name, lambda: self._client.put(url, content=_chunks(path), headers=_binary(headers)))

    def begin(self, name: str, *, size_bytes: int, sha256: str) -> Accepted | Refusal:
        """Begin, or go on with, an upload by parts."""
        body = {"name": name, "size_bytes": size_bytes, "sha256": sha256}
        return self._call(name, lambda: self._client.post(f"{self._url}/uploads", json=body))

    def put_part(self, upload: str, number: int, data: bytes, *, sha256: str) -> Accepted | Refusal:
        """Send one part."""
        url = f"{self._url}/uploads/{quote(upload, safe='')}/parts/{number}"
        headers = _binary({CHECKSUM_HEADER: sha256})
        return self._call(f"part {number}", lambda: self._client.put(url, content=data, headers=headers))

    def complete(self, upload: str, *, name: str) -> Accepted | Refusal:
        """Make the parts one artifact; returns when that is decided."""
        url = f"{self._url}/uploads/{quote(upload, safe='')}/complete"
        while True:
            answer = self._call(name, lambda: self._client.post(url))
            if isinstance(answer, Refusal) or answer.status != 202:
                return answer
            self.pause(answer.retry_after)

    def prune_checkpoints(self, *, keep: int) -> Accepted | Refusal:
        """Let only the newest whole checkpoints stay."""
        url = f"{self._url}/checkpoints"
        return self._call("checkpoints", lambda: self._client.delete(url, params={"keep": keep}))

    def pause(self, seconds: float) -> None:
        """Wait, unless nobody wants the upload any more. Raises UploadStopped."""
        if self.stop.wait(seconds):
            raise UploadStopped

    def _call(self, what: str, send: Callable[[], httpx.Response]) -> Accepted | Refusal:
        retrying = Retrying(
            retry=retry_if_exception_type((_TryAgain, httpx.TransportError)),
            wait=_wait,
            stop=stop_any(stop_after_delay(self._give_up_after.total_seconds()), stop_when_event_set(self.stop)),
            sleep=sleep_using_event(self.stop),
            before_sleep=lambda state: self._note(what, state),
            reraise=True,
        )
        if self.stop.is_set():
            raise UploadStopped
        try:
            answer: Accepted | Refusal = retrying(_answered, send)
        except (_TryAgain, httpx.TransportError) as error:
            if self.stop.is_set():
                raise UploadStopped from error
            raise ArtifactUploadFailed(
                f"{what} could not be stored within {self._give_up_after}: {error or type(error).__name__}"
            ) from error
        self.is_failing = False
        return answer

    def _note(self, what: str, state: RetryCallState) -> None:
        self.is_failing = True
        error = _error(state)
        self._log(f"{what} not stored yet ({error or type(error).__name__}); trying again")


def _answered(send: Callable[[], httpx.Response]) -> Accepted | Refusal:
    response = send()
    status = response.status_code
    if status == 401:
        raise TokenRejected("the dataset gateway")
    if status in RETRIED_STATUSES:
        raise _TryAgain(
            f"the gateway answered {status}: {response.text[:300]}", after_seconds=retry_after_seconds(response)
        )
    body = _json(response)
    if response.is_success:
        return Accepted(status, body, retry_after=retry_after_seconds(response) or 0.0)
    return Refusal(status, body, text=str(body.get("detail") or response.text)[:300])


def _json(response: httpx.Response) -> dict[str, Any]:
    try:
        body = response.json()
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def _binary(headers: dict[str, str]) -> dict[str, str]:
    return {**headers, "Content-Type": "application/octet-stream"}


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

"""One HTTP call: errors of ours instead of httpx's, and repeated while the server is away."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

import httpx
from pydantic import BaseModel, ValidationError
from tenacity import RetryCallState, Retrying, retry_if_exception_type
from tenacity.wait import wait_base, wait_random_exponential

from stoker.client.errors import (
    AnswerNotUnderstood,
    Conflicting,
    ConnectionLost,
    InvalidRequest,
    NotAllowed,
    NotFound,
    NotSignedIn,
    Refused,
    ServerBusy,
    ServerFailed,
)
from stoker.client.server import is_loopback

ResultT = TypeVar("ResultT")
ModelT = TypeVar("ModelT", bound=BaseModel)

CONNECT_TIMEOUT = timedelta(seconds=5)
READ_TIMEOUT = timedelta(seconds=60)
LONGEST_RETRY_AFTER = 30.0

_BY_STATUS: dict[int, type[Refused]] = {
    401: NotSignedIn,
    403: NotAllowed,
    404: NotFound,
    409: Conflicting,
    422: InvalidRequest,
}
# 423: a connection broke, and the gateway has not noticed that the sender is gone; 408: it has.
_BUSY = frozenset({408, 423, 429, 502, 503, 504})


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How long a call is repeated while no answer comes or the server is busy.

    `give_up_after` counts the pauses, not the calls: an upload that broke after ten minutes is tried again, too.
    """

    give_up_after: timedelta = timedelta(seconds=45)
    first_wait: timedelta = timedelta(milliseconds=200)
    longest_wait: timedelta = timedelta(seconds=5)

    def run(self, call: Callable[[], ResultT]) -> ResultT:
        """Call until it succeeds, fails for good, or the time is up; then the last error is raised."""
        return Retrying(
            stop=lambda state: state.idle_for >= self.give_up_after.total_seconds(),
            wait=_WaitAsTold(wait_random_exponential(self.first_wait.total_seconds(), self.longest_wait)),
            retry=retry_if_exception_type((ConnectionLost, ServerBusy)),
            reraise=True,
        )(call)


class _WaitAsTold(wait_base):
    """Growing pauses, and at least as long as the server asks for."""

    def __init__(self, otherwise: wait_base) -> None:
        self._otherwise = otherwise

    def __call__(self, retry_state: RetryCallState) -> float:
        error = retry_state.outcome.exception() if retry_state.outcome else None
        pause = self._otherwise(retry_state)
        if isinstance(error, ServerBusy) and error.retry_after is not None:
            # Not shorter than ours: pauses of "Retry-After: 0" would never add up to giving up.
            return max(pause, min(error.retry_after, LONGEST_RETRY_AFTER))
        return pause


def open_http(url: str, *, headers: Mapping[str, str] | None = None) -> httpx.Client:
    """A connection pool for one address. The proxies of the environment are not asked for this machine."""
    timeout = httpx.Timeout(READ_TIMEOUT.total_seconds(), connect=CONNECT_TIMEOUT.total_seconds())
    return httpx.Client(base_url=url, headers=headers, timeout=timeout, trust_env=not is_loopback(url))


def send(client: httpx.Client, request: httpx.Request, *, stream: bool = False) -> httpx.Response:
    """Send one request, once.

    Raises:
        ConnectionLost: no answer came.
        Refused: the server said no.
    """
    address = shown(request.url)
    try:
        response = client.send(request, stream=stream)
    except httpx.TransportError as error:
        raise ConnectionLost(address, _reason(error)) from error
    if response.is_success:
        return response
    try:
        response.read()
    except httpx.TransportError as error:
        raise ConnectionLost(address, _reason(error)) from error
    finally:
        response.close()
    raise refusal(response)


def refusal(response: httpx.Response) -> Refused:
    """The error that an answer stands for; an answer that is no problem document is quoted."""
    status, problem = response.status_code, problem_of(response)
    if status in _BUSY:
        return ServerBusy(status=status, problem=problem, retry_after=_retry_after(response))
    fallback = ServerFailed if status >= 500 else Refused
    return _BY_STATUS.get(status, fallback)(status=status, problem=problem)


def problem_of(response: httpx.Response) -> dict[str, Any]:
    """The problem details of an answer, whatever it holds."""
    try:
        content = response.json()
    except ValueError:
        content = None
    if isinstance(content, dict) and ("detail" in content or "title" in content):
        return content
    text = " ".join(response.text.split())[:200]
    said = f": {text}" if text else "."
    return {"detail": f"{shown(response.request.url)} answered {response.status_code} {response.reason_phrase}{said}"}


def parsed(kind: type[ModelT], response: httpx.Response) -> ModelT:
    """The content of a successful answer.

    Raises:
        AnswerNotUnderstood: it is something else.
    """
    try:
        return kind.model_validate_json(response.content)
    except ValidationError as error:
        faults = ", ".join(".".join(map(str, fault["loc"])) or fault["type"] for fault in error.errors()[:5])
        raise AnswerNotUnderstood(shown(response.request.url), f"not as expected at {faults}") from error


def shown(url: httpx.URL | str) -> str:
    """An address that may be shown: without its query, which may hold a token."""
    return str(httpx.URL(url).copy_with(query=None, fragment=None, userinfo=b""))


def _reason(error: httpx.TransportError) -> str:
    return str(error) or type(error).__name__


def _retry_after(response: httpx.Response) -> float | None:
    text = response.headers.get("retry-after", "")
    if text.isdigit():
        return float(text)
    try:
        sent = parsedate_to_datetime(response.headers.get("date", ""))
        return max(0.0, (parsedate_to_datetime(text) - sent).total_seconds())
    except ValueError:
        return None

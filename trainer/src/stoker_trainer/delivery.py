"""One report over HTTP: which answer means what. Keeps no state beyond the connection."""

import gzip
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Any

import httpx

from stoker_trainer.report import Control

REQUEST_TIMEOUT_SECONDS = 15.0
MAX_RETRY_AFTER_SECONDS = 300.0
PACKED_FROM_BYTES = 1024
"""Smaller bodies hardly shrink."""

_PACKING_LEVEL = 1
_UNSUPPORTED_ENCODING = 415


class Verdict(StrEnum):
    """What an answer means for the batch that was sent."""

    DURABLE = "durable"  # forget it
    TOKEN_REJECTED = "token_rejected"  # noqa: S105 - stop sending, stop training
    TOO_LARGE = "too_large"  # send half of it
    INVALID = "invalid"  # can never be taken: drop it and say so
    BUSY = "busy"  # wait as long as the answer says
    FAILED = "failed"  # keep it and try again
    UNREACHABLE = "unreachable"  # the same, and there is no point in trying anything else now


VERDICTS: dict[int, Verdict] = {
    401: Verdict.TOKEN_REJECTED,
    413: Verdict.TOO_LARGE,
    422: Verdict.INVALID,
    429: Verdict.BUSY,
    503: Verdict.BUSY,
}
"""By status; any 2xx is durable, anything else failed."""


@dataclass(frozen=True)
class Answer:
    """A verdict with the order that came along, the wait in seconds that was asked for, and the detail."""

    verdict: Verdict
    control: Control | None = None
    retry_after: float | None = None
    detail: str = ""


class Delivery:
    """Posts JSON with the job token, packed if it is worth it. Each body says when this machine believes it is sent."""

    def __init__(self, *, token: str, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._now = now
        self._may_pack = True
        self._client = httpx.Client(headers={"Authorization": f"Bearer {token}"}, timeout=REQUEST_TIMEOUT_SECONDS)

    def post(self, url: str, body: dict[str, Any]) -> Answer:
        """Send one report. Never raises for what a network or server can do."""
        sent_at = self._now().isoformat(timespec="milliseconds")
        content = json.dumps(body | {"sent_at": sent_at}, ensure_ascii=False).encode("utf-8", "replace")
        try:
            response = self._send(url, content)
            if response.status_code == _UNSUPPORTED_ENCODING and self._may_pack:
                self._may_pack = False
                response = self._send(url, content)
        except httpx.TransportError as error:
            return Answer(Verdict.UNREACHABLE, detail=f"{type(error).__name__}: {error}")
        except (httpx.RequestError, httpx.InvalidURL) as error:  # an answer, or an address, that cannot be read
            return Answer(Verdict.FAILED, detail=f"{type(error).__name__}: {error}")
        return read_answer(response)

    def _send(self, url: str, content: bytes) -> httpx.Response:
        headers = {"Content-Type": "application/json"}
        if self._may_pack and len(content) > PACKED_FROM_BYTES:
            content = gzip.compress(content, _PACKING_LEVEL, mtime=0)
            headers["Content-Encoding"] = "gzip"
        return self._client.post(url, content=content, headers=headers)


def read_answer(response: httpx.Response) -> Answer:
    """The meaning of a response."""
    if response.is_success:
        return Answer(Verdict.DURABLE, control=_control(response))
    return Answer(
        VERDICTS.get(response.status_code, Verdict.FAILED),
        retry_after=retry_after_seconds(response),
        detail=f"HTTP {response.status_code}: {response.text[:500]}",
    )


def retry_after_seconds(response: httpx.Response) -> float | None:
    """Retry-After as seconds from now, whether it came as seconds or as a date; capped at 5 minutes."""
    header = response.headers.get("Retry-After")
    if header is None:
        return None
    try:
        seconds = float(header)
    except ValueError:
        seconds = _seconds_until(header)
    return min(max(0.0, seconds), MAX_RETRY_AFTER_SECONDS)  # 0.0 first: of NaN it makes 0, not a wait without end


def _seconds_until(date: str) -> float:
    try:
        moment = parsedate_to_datetime(date)
    except ValueError:
        return 0.0
    return (moment - datetime.now(moment.tzinfo)).total_seconds()


def _control(response: httpx.Response) -> Control | None:
    try:
        order = response.json()["control"]
        return Control(action=order["action"], reason=order.get("reason"), deadline=order.get("deadline"))
    except (ValueError, KeyError, TypeError):
        return None  # durable all the same: the status says so

"""One HTTP call with Python's own library. Never raises for what a network or a server can do."""

import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.client import HTTPException
from typing import Any

TIMEOUT_SECONDS = 15.0


@dataclass(frozen=True)
class Answer:
    """`status` 0: nobody answered. `detail` says more and holds no secret."""

    status: int
    detail: str = ""
    content: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_yes(self) -> bool:
        """Any 2xx."""
        return 200 <= self.status < 300

    @property
    def retry_after(self) -> float | None:
        """Seconds, if the answer asks for a pause in seconds."""
        asked = next((value for name, value in self.headers.items() if name.lower() == "retry-after"), "")
        return min(float(asked), 300.0) if asked.isdecimal() else None

    @property
    def order(self) -> str:
        """What the metrics service orders: continue, checkpoint, stop, land."""
        try:
            return str(json.loads(self.content)["control"]["action"])
        except (ValueError, KeyError, TypeError):
            return "continue"


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would carry the token to another host."""

    def redirect_request(self, *_args: Any, **_kwargs: Any) -> None:
        return None


_OPENER = urllib.request.build_opener(_NoRedirect)


def call(method: str, url: str, *, token: str = "", body: object = None, agent: str) -> Answer:
    """Send JSON, or nothing."""
    content = None if body is None else json.dumps(body, ensure_ascii=False).encode("utf-8", "replace")
    headers = {"User-Agent": agent, "Accept": "application/json", "Content-Type": "application/json"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    try:
        request = urllib.request.Request(url, data=content, headers=headers, method=method)  # noqa: S310 - ours
        with _OPENER.open(request, timeout=TIMEOUT_SECONDS) as response:
            return Answer(response.status, content=response.read(), headers=dict(response.headers))
    except urllib.error.HTTPError as error:
        with error:
            return Answer(error.code, detail=_text(error), headers=dict(error.headers))
    except (OSError, HTTPException, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        return Answer(0, detail=f"{type(reason).__name__}: {reason}")


def _text(error: urllib.error.HTTPError) -> str:
    try:
        return error.read(500).decode("utf-8", "replace")
    except (OSError, HTTPException) as broken:
        return f"the answer broke off: {broken}"

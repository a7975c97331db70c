"""Stands before every route: an address whose tokens keep failing is sent away before anything is looked up."""

from collections import OrderedDict
from urllib.parse import parse_qs

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from stoker_dataset_gateway.tokens.failed_tries import FailedTries
from stoker_shared.errors import TooManyRequests
from stoker_shared.tokens import token_hash
from stoker_shared.web.problems import problem_response

_MOST_KNOWN = 10_000


class TokenGuard:
    """Counts answers of 401 by the peer's address.

    A token that was good before is let through from wherever it comes: the pods of a data centre share one address,
    and one of them must not lock out the others.
    """

    def __init__(self, app: ASGIApp, *, tries: FailedTries) -> None:
        self._app = app
        self._tries = tries
        self._known: OrderedDict[str, None] = OrderedDict()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        token = _token_in(scope) if scope["type"] == "http" else ""
        if not token:
            return await self._app(scope, receive, send)
        address, hashed = (scope.get("client") or ("", 0))[0], token_hash(token)
        wait = self._tries.wait(address)
        if wait.total_seconds() > 0 and hashed not in self._known:
            error = TooManyRequests("Too many tokens from this address were refused.", retry_after=wait)
            return await problem_response(error)(scope, receive, send)

        async def send_noted(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._note(message["status"], address=address, hashed=hashed)
            await send(message)

        return await self._app(scope, receive, send_noted)

    def _note(self, status: int, *, address: str, hashed: str) -> None:
        if status == 401:
            self._known.pop(hashed, None)
            self._tries.note(address)
        elif status < 400:
            self._known[hashed] = None
            self._known.move_to_end(hashed)
            while len(self._known) > _MOST_KNOWN:
                self._known.popitem(last=False)


def _token_in(scope: Scope) -> str:
    _, _, bearer = Headers(scope=scope).get("authorization", "").partition(" ")
    if bearer.strip():
        return bearer.strip()
    if b"token=" not in scope["query_string"]:
        return ""
    return str(parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[-1])

"""One call to the server: sent again while no answer comes, its answer as a typed object."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

import httpx
from pydantic import BaseModel

from stoker.client.errors import NoIdentifier
from stoker.client.following import PAGE
from stoker.client.http import RetryPolicy, parsed, send

ModelT = TypeVar("ModelT", bound=BaseModel)

_SEGMENT = re.compile(r"[A-Za-z0-9_-]{1,100}")


class Calls:
    """Base of the client and its parts; the client sets `_http` and `_retry`."""

    _http: httpx.Client
    _retry: RetryPolicy

    def _get(self, kind: type[ModelT], path: str, *, params: Mapping[str, Any] | None = None) -> ModelT:
        return parsed(kind, self._call("GET", path, params=params))

    def _post(self, kind: type[ModelT], path: str, content: Any, *, headers: Mapping[str, str] | None = None) -> ModelT:
        return parsed(kind, self._call("POST", path, json=content, headers=headers))

    def _pages(self, kind: type[ModelT], path: str, entries: str, **more: Any) -> Iterator[Any]:
        after = 0
        while True:
            page = getattr(self._get(kind, path, params={"after": after, "limit": PAGE, **more}), entries)
            yield from page
            if not page:  # a page that is merely short was cut by size
                return
            after = page[-1].sequence

    def _call(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        return self._retry.run(lambda: send(self._http, self._http.build_request(method, path, **arguments)))


def segment(identifier: str) -> str:
    """A part of a path. What somebody typed must not lead to another address.

    Raises:
        NoIdentifier: it cannot be one.
    """
    if not _SEGMENT.fullmatch(identifier):
        raise NoIdentifier(identifier)
    return identifier

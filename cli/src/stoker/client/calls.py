"""One call to the server: sent again while no answer comes, its answer as a typed object."""

from collections.abc import Mapping
from typing import Any, TypeVar

import httpx
from pydantic import BaseModel

from stoker.client.http import RetryPolicy, parsed, send

ModelT = TypeVar("ModelT", bound=BaseModel)


class Calls:
    """Base of the client."""

    _http: httpx.Client
    _retry: RetryPolicy

    def _get(self, kind: type[ModelT], path: str, *, params: Mapping[str, Any] | None = None) -> ModelT:
        return parsed(kind, self._call("GET", path, params=params))

    def _post(self, kind: type[ModelT], path: str, content: Any, *, headers: Mapping[str, str] | None = None) -> ModelT:
        return parsed(kind, self._call("POST", path, json=content, headers=headers))

    def _call(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        return self._retry.run(lambda: send(self._http, self._http.build_request(method, path, **arguments)))

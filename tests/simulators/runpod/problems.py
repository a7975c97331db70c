"""Errors as RunPod words them: `application/problem+json` with title, status, detail and sometimes errors."""

from collections.abc import Iterable, Mapping
from http import HTTPStatus

from pydantic import ValidationError
from starlette.responses import JSONResponse

MEDIA_TYPE = "application/problem+json"

NO_CAPACITY = (
    "There are no longer any instances available with the requested specifications. Please refresh and try again."
)
NO_BALANCE = "Your account balance is too low to deploy this pod. Please add funds and try again."
_TITLES = {422: "Unprocessable Entity"}


class Problem(Exception):
    """An answer that is an error."""

    def __init__(
        self, status: int, detail: str, *, errors: Iterable[str] = (), headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(f"{status} {detail}")
        self.status, self.detail = status, detail
        self.errors, self.headers = tuple(errors), dict(headers or {})

    def response(self) -> JSONResponse:
        """The answer."""
        title = _TITLES.get(self.status) or HTTPStatus(self.status).phrase
        body: dict[str, object] = {"title": title, "status": self.status, "detail": self.detail}
        if self.errors:
            body["errors"] = list(self.errors)
        return JSONResponse(body, status_code=self.status, headers=self.headers, media_type=MEDIA_TYPE)


def not_found() -> Problem:
    """There is no such thing, or it is not yours."""
    return Problem(404, "resource not found")


def forbidden() -> Problem:
    """The key is good, but not for this."""
    return Problem(403, "access denied")


def contract_broken(fault: ValidationError, body: object) -> Problem:
    """What a body that does not fit is answered with.

    Where a required field is missing, the validator finds fault with the good ones as well, as the real one does.
    """
    errors = [_worded(error["type"], error["loc"], error.get("ctx", {}), error["msg"]) for error in fault.errors()]
    if isinstance(body, dict) and any(e["type"] == "missing" and len(e["loc"]) == 1 for e in fault.errors()):
        errors.append(f"$: additional properties {', '.join(repr(name) for name in body)} not allowed")
    return Problem(422, "Request validation failed.", errors=errors)


def _worded(kind: str, place: tuple[int | str, ...], facts: Mapping[str, object], message: str) -> str:
    if kind in ("extra_forbidden", "missing"):
        *above, name = place
        words = "additional properties {!r} not allowed" if kind == "extra_forbidden" else "missing property {!r}"
        return f"{_path(above)}: {words.format(name)}"
    if kind == "literal_error":
        return f"{_path(place)}: value must be one of {facts['expected']}".replace(" or ", ", ")
    return f"{_path(place)}: {message}"


def _path(place: Iterable[int | str]) -> str:
    return "$" + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place)

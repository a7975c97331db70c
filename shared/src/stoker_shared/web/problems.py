"""Errors as RFC 9457 problem details, `application/problem+json`."""

from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException

from stoker_shared.errors import RemoteRefusal, RequestInvalid, StokerError, TooManyRequests, TransientError
from stoker_shared.logging import get_logger
from stoker_shared.trace import current_trace_id

logger = get_logger(__name__)

PROBLEM_MEDIA_TYPE = "application/problem+json"


class FieldFault(BaseModel):
    """One field of a request and what is wrong with it."""

    field: str
    message: str


class Problem(BaseModel):
    """What every error answer holds. `code` is stable, `next_step` says what to do, `trace_id` is for the operator."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    code: str
    next_step: str = ""
    errors: list[FieldFault] = []
    trace_id: str = ""


def problem_of(error: StokerError) -> Problem:
    """The problem details of an error of ours."""
    code, status, title = error.code, error.status, error.title
    if isinstance(error, RemoteRefusal):
        code, status, title = error.remote_code, error.remote_status, error.remote_title
    return Problem(
        title=title,
        status=status,
        detail=error.detail,
        code=code,
        next_step=error.next_step,
        errors=[FieldFault(field=name, message=message) for name, message in error.fields.items()],
        trace_id=current_trace_id(),
    )


def problem_response(error: StokerError) -> JSONResponse:
    """The HTTP answer for an error of ours."""
    problem = problem_of(error)
    return JSONResponse(
        problem.model_dump(),
        status_code=problem.status,
        media_type=PROBLEM_MEDIA_TYPE,
        headers={**_headers(error, problem), **error.headers},
    )


def error_response(error: StokerError) -> JSONResponse:
    """The same for an error that ended a request: one that is ours to mend is logged."""
    if error.status >= 500 and not isinstance(error, TransientError):
        logger.error("request failed", exc_info=error)
    return problem_response(error)


def install_problem_handlers(application: FastAPI) -> None:
    """Make every error of this application a problem."""

    async def on_stoker_error(_request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, StokerError)  # noqa: S101 - registered for this class
        return error_response(error)

    async def on_validation_error(_request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError | ValidationError)  # noqa: S101
        return problem_response(invalid_request(error.errors()))

    async def on_http_exception(_request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)  # noqa: S101
        problem = Problem(
            title=str(error.detail),
            status=error.status_code,
            detail=str(error.detail),
            code=f"http_{error.status_code}",
            trace_id=current_trace_id(),
        )
        return JSONResponse(
            problem.model_dump(), status_code=error.status_code, media_type=PROBLEM_MEDIA_TYPE, headers=error.headers
        )

    application.add_exception_handler(StokerError, on_stoker_error)
    application.add_exception_handler(RequestValidationError, on_validation_error)
    application.add_exception_handler(HTTPException, on_http_exception)


def invalid_request(faults: Any) -> RequestInvalid:
    """Pydantic's list of errors as an error of ours, without the values, which may be secrets."""
    fields = {".".join(str(part) for part in fault["loc"]) or "body": str(fault["msg"]) for fault in faults}
    named = ", ".join(list(fields)[:5])
    return RequestInvalid(
        f"These fields are not as they should be: {named}.", next_step="See `errors` for each field.", fields=fields
    )


def _headers(error: StokerError, problem: Problem) -> dict[str, str]:
    if isinstance(error, TooManyRequests):
        return {"Retry-After": str(max(1, round(error.retry_after.total_seconds())))}
    if problem.status == 503:
        return {"Retry-After": "2"}
    if problem.status == 401:
        return {"WWW-Authenticate": "Bearer"}
    return {}

"""Errors as RFC 9457 problem+json: the user gets what to do, the log gets the traceback."""

import uuid

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from stoker_trainer.server.errors import ServerError

log = structlog.get_logger()


def add_problem_handlers(app: FastAPI) -> None:
    """Let every error of the application answer as a problem."""

    @app.exception_handler(ServerError)
    def on_server_error(_request: Request, error: ServerError) -> JSONResponse:
        return problem(error.status, error.code, title=error.title, detail=str(error), next_step=error.next_step)

    @app.exception_handler(RequestValidationError)
    def on_invalid(_request: Request, error: RequestValidationError) -> JSONResponse:
        # Only place and message: the input may hold a token.
        faults = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
        return problem(
            422, "invalid_request", title="Invalid request", detail=faults, next_step="Correct the named fields."
        )

    @app.exception_handler(HTTPException)
    def on_http_error(_request: Request, error: HTTPException) -> JSONResponse:
        return problem(
            error.status_code,
            "not_found" if error.status_code == 404 else "request_refused",
            title=str(error.detail),
            detail=str(error.detail),
            next_step="See the API of the training server at /docs.",
        )

    @app.exception_handler(Exception)
    def on_unexpected(request: Request, error: Exception) -> JSONResponse:
        trace_id = uuid.uuid4().hex
        log.error("request failed", path=request.url.path, trace_id=trace_id, exc_info=error)
        return problem(
            500,
            ServerError.code,
            title=ServerError.title,
            detail=f"unexpected error, trace {trace_id}",
            next_step=f"Look for {trace_id} in the training server's log.",
        )


def problem(status: int, code: str, *, title: str, detail: str, next_step: str) -> JSONResponse:
    """One problem document."""
    return JSONResponse(
        {
            "type": f"urn:stoker:problem:{code}",
            "title": title,
            "status": status,
            "detail": detail,
            "code": code,
            "next_step": next_step,
        },
        status_code=status,
        media_type="application/problem+json",
    )

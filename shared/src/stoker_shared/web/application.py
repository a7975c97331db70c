"""Making and running the HTTP application of a service."""

import gc
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager

import uvicorn
from fastapi import FastAPI
from pydantic import SecretStr

from stoker_shared.web.client_socket import LendingProtocol
from stoker_shared.web.health import ReadinessCheck, health_router
from stoker_shared.web.problems import Problem, install_problem_handlers
from stoker_shared.web.prometheus import prometheus_router
from stoker_shared.web.tracing import TraceMiddleware
from stoker_shared.web.whole_answers import WholeAnswerProtocol

_VERSION = "0.1.0"

_OBJECTS_BETWEEN_COLLECTIONS = 20_000
"""Python's own 700 is less than one batch of reports holds: it looked for garbage many times in each."""

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None] | AsyncIterator[None]]


def create_application(
    *,
    title: str,
    description: str,
    lifespan: Lifespan,
    checks: Mapping[str, ReadinessCheck],
    prometheus_token: SecretStr | None = None,
    begins_traces: bool = True,
) -> FastAPI:
    """A FastAPI application with problem details, trace ids, health routes, and figures for whoever has the token.

    `begins_traces`: False where requests come all the time, as reports of pods do.
    """
    application = FastAPI(
        title=title,
        description=description,
        version=_VERSION,
        lifespan=lifespan,  # type: ignore[arg-type]
        responses={"default": {"model": Problem, "description": "What is wrong, and what to do"}},
    )
    install_problem_handlers(application)
    application.add_middleware(TraceMiddleware, begins_traces=begins_traces)
    application.include_router(health_router(checks))
    if prometheus_token is not None:
        application.include_router(prometheus_router(prometheus_token))
    return application


def serve(
    application: FastAPI, *, host: str, port: int, trusted_proxies: Sequence[str] = (), lends_sockets: bool = False
) -> None:
    """Run until SIGTERM or SIGINT; open requests get a few seconds to end.

    `trusted_proxies`: addresses or networks whose X-Forwarded-For is believed. From anybody else it means nothing.
    `lends_sockets`: whether a response may have the client's socket, see `client_socket`.
    """
    # What is there now stays for good: no collection need look at it again.
    gc.freeze()
    gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS)
    gc.enable()
    uvicorn.run(
        application,
        host=host,
        port=port,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=5,
        server_header=False,
        loop="uvloop",
        http=LendingProtocol if lends_sockets else WholeAnswerProtocol,
        proxy_headers=bool(trusted_proxies),
        forwarded_allow_ips=list(trusted_proxies),
    )

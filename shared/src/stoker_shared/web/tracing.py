"""Gives each request a trace id, and turns an unforeseen exception into an answer without a traceback."""

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from stoker_shared.errors import StokerError
from stoker_shared.logging import get_logger
from stoker_shared.trace import TRACEPARENT_HEADER, enter_trace
from stoker_shared.web.problems import problem_response

logger = get_logger(__name__)


class TraceMiddleware:
    """Plain ASGI, since a middleware of Starlette's base class would buffer streams."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        headers = dict(scope["headers"])
        trace_id = enter_trace(headers.get(TRACEPARENT_HEADER.encode(), b"").decode("latin-1"))
        has_started = False

        async def send_traced(message: Message) -> None:
            nonlocal has_started
            if message["type"] == "http.response.start":
                has_started = True
                message["headers"] = [*message["headers"], (b"x-trace-id", trace_id.encode())]
            await send(message)

        with structlog.contextvars.bound_contextvars(trace_id=trace_id):
            try:
                await self._app(scope, receive, send_traced)
            except Exception:
                # The path only: a query may hold a token.
                logger.exception("request failed", method=scope["method"], path=scope["path"])
                if has_started:
                    raise
                error = StokerError("The service failed inside.", next_step="Quote the trace id to your operator.")
                await problem_response(error)(scope, receive, send_traced)
        return None

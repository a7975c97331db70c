"""Gives each request a trace id and counts it, and turns an unforeseen exception into an answer without a traceback."""

from functools import lru_cache
from time import perf_counter

import structlog
from opentelemetry.trace import SpanKind
from prometheus_client import Counter, Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from stoker_shared.errors import StokerError
from stoker_shared.figures import HTTP_REQUESTS, HTTP_SECONDS
from stoker_shared.logging import get_logger
from stoker_shared.trace import TRACEPARENT_HEADER, enter_background, enter_trace, span
from stoker_shared.web.problems import problem_response

logger = get_logger(__name__)

# Asked every few seconds, by machines.
_UNTRACED_PATHS = frozenset({"/healthz", "/readyz", "/metrics"})
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_UNKNOWN_ROUTE = "unknown"
_TRACEPARENT = TRACEPARENT_HEADER.encode()
_CLIENT_GONE = 499
"""As nginx has it: nobody was there to be answered."""


class TraceMiddleware:
    """Plain ASGI, since a middleware of Starlette's base class would buffer streams.

    `begins_traces`: whether a request that names no trace begins one that sends spans.
    """

    def __init__(self, app: ASGIApp, *, begins_traces: bool = True) -> None:
        self._app = app
        self._begins_traces = begins_traces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        trace_id = self._enter(scope)
        answer = _Answer(scope, send, trace_id)
        with (
            structlog.contextvars.bound_contextvars(trace_id=trace_id),
            span(answer.method, kind=SpanKind.SERVER) as handling,
        ):
            try:
                await self._answered(scope, receive, answer)
            finally:
                answer.count()
                if handling.is_recording():
                    handling.update_name(f"{answer.method} {answer.route}")
                    handling.set_attributes({"http.route": answer.route, "http.response.status_code": answer.status})
        return None

    def _enter(self, scope: Scope) -> str:
        header = dict(scope["headers"]).get(_TRACEPARENT, b"").decode("latin-1")
        if not header and (not self._begins_traces or scope["path"] in _UNTRACED_PATHS):
            return enter_background()
        return enter_trace(header)

    async def _answered(self, scope: Scope, receive: Receive, answer: "_Answer") -> None:
        try:
            await self._app(scope, receive, answer.send)
        except Exception:
            # The path only: a query may hold a token.
            logger.exception("request failed", method=scope["method"], path=scope["path"])
            if answer.has_started:
                raise
            error = StokerError("The service failed inside.", next_step="Quote the trace id to your operator.")
            await problem_response(error)(scope, receive, answer.send)


class _Answer:
    """What is sent back, with the trace id in its head, and how long it took to begin."""

    def __init__(self, scope: Scope, send: Send, trace_id: str) -> None:
        self._scope = scope
        self._send = send
        self._trace_id = trace_id
        self._asked_at = perf_counter()
        self._seconds = 0.0
        self.status = _CLIENT_GONE

    @property
    def has_started(self) -> bool:
        """Whether the head is sent."""
        return self.status != _CLIENT_GONE

    @property
    def method(self) -> str:
        """The method, if it is one of HTTP's."""
        method = str(self._scope["method"])
        return method if method in _METHODS else "OTHER"

    @property
    def route(self) -> str:
        """The path as it is written in the code: no figure and no span is named after what a stranger asks for."""
        return str(getattr(self._scope.get("route"), "path", _UNKNOWN_ROUTE))

    async def send(self, message: Message) -> None:
        """Send a part."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self._seconds = perf_counter() - self._asked_at
            message["headers"] = [*message["headers"], (b"x-trace-id", self._trace_id.encode())]
        await self._send(message)

    def count(self) -> None:
        """Tell the figures, once the answer is over."""
        requests, seconds = _figures(self.method, self.route, self.status)
        requests.inc()
        if self.has_started:
            seconds.observe(self._seconds)


# Routes and states are few; looking a figure up by its labels takes a lock and costs more than counting.
@lru_cache(maxsize=1024)
def _figures(method: str, route: str, status: int) -> tuple[Counter, Histogram]:
    return HTTP_REQUESTS.labels(method, route, str(status)), HTTP_SECONDS.labels(method, route)

"""The trace id that ties log lines of all services together, carried as W3C `traceparent`."""

import re
import secrets
from contextvars import ContextVar

TRACEPARENT_HEADER = "traceparent"

_TRACEPARENT = re.compile(r"^00-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}$")
_current: ContextVar[str] = ContextVar("trace_id", default="")


def current_trace_id() -> str:
    """The trace id of the work at hand, empty outside any."""
    return _current.get()


def enter_trace(traceparent: str | None) -> str:
    """Join the caller's trace, or begin one. Returns the trace id (32 hex digits)."""
    found = _TRACEPARENT.match(traceparent or "")
    trace_id = found.group(1) if found else secrets.token_hex(16)
    _current.set(trace_id)
    return trace_id


def traceparent() -> str:
    """The header value to hand on: this trace, a new span."""
    return f"00-{current_trace_id() or secrets.token_hex(16)}-{secrets.token_hex(8)}-01"

"""Traces: which work belongs together, across processes. W3C trace context, spans by OpenTelemetry.

A job is one trace from its launch to its end. Its id follows from the job's id (`job_traceparent`), so every service,
replica and restart finds it without being told. Requests and background work have traces of their own.

Spans cost next to nothing until `stoker_shared.tracing.configure_tracing` names a collector; the ids are in log lines
and headers either way.
"""

import hashlib
import random
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime
from functools import lru_cache

from opentelemetry import context, trace
from opentelemetry.trace import NonRecordingSpan, Span, SpanContext, SpanKind, StatusCode, TraceFlags

TRACEPARENT_HEADER = "traceparent"

_TRACEPARENT = re.compile(r"^00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})$")
_TRACER = trace.get_tracer("stoker")
# Ids are no secrets; asking the system for each costs more than the rest of beginning a trace.
_RANDOM = random.Random()  # noqa: S311
_root: ContextVar[SpanContext | None] = ContextVar("root", default=None)

Attributes = Mapping[str, str | int | float | bool]


def current_trace_id() -> str:
    """The trace id of the work at hand, empty outside any."""
    found = trace.get_current_span().get_span_context()
    return f"{found.trace_id:032x}" if found.is_valid else ""


def enter_trace(traceparent: str | None) -> str:
    """Join the caller's trace for the rest of this task, or begin one. Returns the trace id (32 hex digits)."""
    return _enter(_parsed(traceparent) or _new(TraceFlags.SAMPLED))


def enter_background() -> str:
    """Begin a trace that is in log lines but sends no spans: for work that nobody asked for and that never ends."""
    return _enter(_new(TraceFlags.DEFAULT))


def traceparent() -> str:
    """The header value to hand on: the span at hand, or a new trace outside any."""
    found = trace.get_current_span().get_span_context()
    return _header(found if found.is_valid else _new(TraceFlags.SAMPLED))


def job_traceparent(job_id: str) -> str:
    """The root of a job's trace, the same in every process."""
    return _header(_job_context(job_id))


@lru_cache(maxsize=1024)
def silent_job_traceparent(job_id: str) -> str:
    """The same, for what comes all the time and is to send no spans of its own."""
    return f"{job_traceparent(job_id)[:-2]}00"


def traceparent_for(job_id: str) -> str:
    """The header of what is told about a job: the span at hand if it belongs to the job, else the job's root."""
    found, job = trace.get_current_span().get_span_context(), _job_context(job_id)
    is_in_it = found.trace_id == job.trace_id and found.trace_flags.sampled
    return _header(found if is_in_it else job)


@contextmanager
def span(
    name: str,
    *,
    parent: str | None = None,
    kind: SpanKind = SpanKind.INTERNAL,
    attributes: Attributes | None = None,
) -> Iterator[Span]:
    """Time a piece of work, under `parent` (a traceparent) or under the span at hand. An exception marks it failed."""
    above = _parsed(parent)
    at_hand = trace.get_current_span()
    if above is None and at_hand.get_span_context().is_valid and not at_hand.get_span_context().trace_flags.sampled:
        # Nothing below it would be sent, and most requests and batches are of this kind.
        yield at_hand
        return
    start = context.get_current() if above is None else trace.set_span_in_context(NonRecordingSpan(above))
    with _TRACER.start_as_current_span(
        name, context=start, kind=kind, attributes=attributes, record_exception=False, set_status_on_exception=False
    ) as begun:
        try:
            yield begun
        except BaseException as error:
            # The name alone: a message may hold what no collector is to see.
            begun.set_status(StatusCode.ERROR, type(error).__name__)
            raise


def record_span(
    name: str, *, parent: str, started_at: datetime, ended_at: datetime, attributes: Attributes | None = None
) -> None:
    """Tell of something that has taken from then till then, under `parent` (a traceparent)."""
    above = trace.set_span_in_context(NonRecordingSpan(_parsed(parent) or _new(TraceFlags.SAMPLED)))
    begun = _TRACER.start_span(name, context=above, start_time=_nanoseconds(started_at), attributes=attributes)
    begun.end(_nanoseconds(max(started_at, ended_at)))


def record_job(job_id: str, *, started_at: datetime, ended_at: datetime, attributes: Attributes) -> None:
    """Tell of a job that is over: the root that all spans of its trace stand under."""
    token = _root.set(_job_context(job_id))
    try:
        begun = _TRACER.start_span(
            "job", context=context.Context(), start_time=_nanoseconds(started_at), attributes=attributes
        )
    finally:
        _root.reset(token)
    begun.end(_nanoseconds(max(started_at, ended_at)))


def root_being_made() -> SpanContext | None:
    """The ids that the span which is being started has to have, if it is a job's root."""
    return _root.get()


def spans_are_sent() -> bool:
    """Whether there is a collector: what must be looked up for a span alone need not be looked up without one."""
    begun = _TRACER.start_span("asked", context=context.Context())
    return begun.is_recording()


def _enter(found: SpanContext) -> str:
    context.attach(trace.set_span_in_context(NonRecordingSpan(found)))
    return f"{found.trace_id:032x}"


def _parsed(header: str | None) -> SpanContext | None:
    found = _TRACEPARENT.match(header or "")
    if found is None:
        return None
    trace_id, span_id, flags = (int(part, 16) for part in found.groups())
    parsed = SpanContext(trace_id, span_id, is_remote=True, trace_flags=TraceFlags(flags & TraceFlags.SAMPLED))
    return parsed if parsed.is_valid else None


def _new(flags: int) -> SpanContext:
    trace_id, span_id = _RANDOM.getrandbits(128) or 1, _RANDOM.getrandbits(64) or 1
    return SpanContext(trace_id, span_id, is_remote=True, trace_flags=TraceFlags(flags))


@lru_cache(maxsize=1024)
def _job_context(job_id: str) -> SpanContext:
    digest = hashlib.sha256(job_id.encode()).digest()
    trace_id, span_id = int.from_bytes(digest[:16]), int.from_bytes(digest[16:24])
    return SpanContext(trace_id, span_id, is_remote=True, trace_flags=TraceFlags(TraceFlags.SAMPLED))


def _header(found: SpanContext) -> str:
    return f"00-{found.trace_id:032x}-{found.span_id:016x}-{int(found.trace_flags):02x}"


def _nanoseconds(at: datetime) -> int:
    return int(at.timestamp() * 1_000_000) * 1_000  # in two steps: a float cannot hold nanoseconds

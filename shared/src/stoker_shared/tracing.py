"""Sends spans to a collector by OTLP over HTTP. Without a collector nothing is recorded."""

from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator

from stoker_shared.trace import root_being_made

_EXPORT_SECONDS = 5
_PATH = "/v1/traces"


class _Ids(RandomIdGenerator):
    """Random ids, except for the root of a job: its ids follow from the job's."""

    def generate_span_id(self) -> int:
        root = root_being_made()
        return super().generate_span_id() if root is None else root.span_id

    def generate_trace_id(self) -> int:
        root = root_being_made()
        return super().generate_trace_id() if root is None else root.trace_id


@contextmanager
def tracing(*, service: str, endpoint: str | None) -> Iterator[None]:
    """Send this process's spans to the collector at `endpoint` (`http://host:4318`) while the block lasts.

    A collector that is away costs the spans, which the log says, and nothing else. The rest is sent at the end, for at
    most a few seconds. Once per process: OpenTelemetry keeps one provider.
    """
    if endpoint is None:
        yield
        return
    exporter = OTLPSpanExporter(endpoint=endpoint.rstrip("/") + _PATH, timeout=_EXPORT_SECONDS)
    provider = TracerProvider(
        resource=Resource.create({"service.name": f"stoker-{service.replace('_', '-')}"}),
        id_generator=_Ids(),
        shutdown_on_exit=False,
    )
    provider.add_span_processor(BatchSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    try:
        yield
    finally:
        provider.shutdown()

"""Figures of a process for Prometheus: what every service counts. No label names a job, a user or an address.

A service adds its own figures in a `figures.py` of its package. All stand in prometheus_client's registry, one per
process.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter

from prometheus_client import Counter, Gauge, Histogram

_QUICK = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)

HTTP_REQUESTS = Counter(
    "stoker_http_requests_total", "Requests answered, by route as it is written", ("method", "route", "status")
)
HTTP_SECONDS = Histogram(
    "stoker_http_first_byte_seconds",
    "From a request's head to the head of its answer",
    ("method", "route"),
    buckets=_QUICK,
)
MESSAGES = Counter(
    "stoker_bus_messages_total",
    "Messages handled, by consumer and outcome: done, again, dead",
    ("consumer", "outcome"),
)
MESSAGE_SECONDS = Histogram(
    "stoker_bus_message_seconds", "What a message's handler takes", ("consumer",), buckets=_QUICK
)
MESSAGE_AGE = Histogram(
    "stoker_bus_message_age_seconds", "From the broker's disk to the handler", ("consumer",), buckets=_QUICK
)
PUBLISHED = Counter(
    "stoker_bus_published_total",
    "Messages published, by class of subject and outcome: stored, duplicate, failed",
    ("kind", "outcome"),
)
BROKER_UP = Gauge("stoker_bus_connected", "1 while the connection to the broker is up")
ANSWERS = Counter(
    "stoker_rpc_answers_total",
    "Questions of other services, by outcome: answered, or the code of the refusal",
    ("subject", "outcome"),
)
ANSWER_SECONDS = Histogram("stoker_rpc_answer_seconds", "What an answer takes", ("subject",), buckets=_QUICK)
OUTBOX_WAITING = Gauge("stoker_outbox_waiting", "Messages stored and not sent yet, looked up every few seconds")


@contextmanager
def timed(seconds: Histogram, *labels: str) -> Iterator[None]:
    """Observe how long the block takes, also if it fails."""
    began = perf_counter()
    try:
        yield
    finally:
        seconds.labels(*labels).observe(perf_counter() - began)

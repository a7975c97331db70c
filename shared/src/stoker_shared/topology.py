"""Streams and consumers of the bus as data. `bus/topology_keeper.py` makes the broker agree with them."""

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal


@dataclass(frozen=True, slots=True)
class StreamSpec:
    """One stream. `retention` "workqueue" drops a message when it is acknowledged, "limits" keeps it for `max_age`."""

    name: str
    subjects: tuple[str, ...]
    retention: Literal["workqueue", "limits"]
    max_age: timedelta
    max_bytes: int
    discard: Literal["old", "new"]
    # Longer than any outbox stays unpublished in normal life; consumers are idempotent beyond it.
    duplicate_window: timedelta = timedelta(minutes=15)
    # Several messages may be published as one batch that is stored whole or not at all (bus/grouping.py).
    allow_atomic: bool = False


@dataclass(frozen=True, slots=True)
class ConsumerSpec:
    """One durable pull consumer. `max_deliver` counts all deliveries; after the last the message is dead-lettered."""

    name: str
    stream: str
    filter_subject: str
    ack_wait: timedelta = timedelta(seconds=30)
    max_deliver: int = 20
    max_ack_pending: int = 256


_GIB = 2**30

STREAMS: tuple[StreamSpec, ...] = (
    # A full command queue refuses new commands instead of forgetting old ones.
    StreamSpec("COMMANDS", ("cmd.>",), "workqueue", timedelta(days=14), _GIB, "new"),
    StreamSpec("EVENTS", ("evt.>",), "limits", timedelta(days=30), 4 * _GIB, "old"),
    StreamSpec("TELEMETRY", ("tel.>",), "limits", timedelta(hours=12), 4 * _GIB, "old", allow_atomic=True),
    StreamSpec("DEAD", ("dead.>",), "limits", timedelta(days=90), _GIB, "old"),
)

_FOREVER = 10_000
"""Commands and telemetry outlive a long outage of their consumer: they are retried for days, not a few times."""

CONSUMERS: tuple[ConsumerSpec, ...] = (
    ConsumerSpec("deployer_launch", "COMMANDS", "cmd.deployer.*.launch", max_deliver=_FOREVER),
    ConsumerSpec("deployer_cancel", "COMMANDS", "cmd.deployer.*.cancel", max_deliver=_FOREVER),
    ConsumerSpec("deployer_pod_events", "EVENTS", "evt.pod.>"),
    ConsumerSpec("api_job_events", "EVENTS", "evt.job.>", max_deliver=_FOREVER),
    ConsumerSpec("metrics_job_ends", "EVENTS", "evt.job.>", max_deliver=_FOREVER),
    ConsumerSpec("metrics_notify_jobs", "EVENTS", "evt.job.>", max_deliver=_FOREVER),
    ConsumerSpec("metrics_notify_pods", "EVENTS", "evt.pod.>", max_deliver=_FOREVER),
    ConsumerSpec("metrics_store", "TELEMETRY", "tel.>", max_deliver=_FOREVER, max_ack_pending=2048),
)


JOB_STANDINGS = "JOB_STANDINGS"


@dataclass(frozen=True, slots=True)
class BucketSpec:
    """One key-value bucket: the broker keeps the last value of each key, and tells each value to all that listen."""

    name: str
    service: str
    max_age: timedelta
    max_bytes: int


BUCKETS: tuple[BucketSpec, ...] = (
    # Replicas of the metrics service tell each other who may report, and what pods are told.
    BucketSpec(JOB_STANDINGS, "metrics", timedelta(days=14), _GIB // 4),
)


@dataclass(frozen=True, slots=True)
class Topology:
    """What a broker should hold."""

    streams: tuple[StreamSpec, ...] = field(default=STREAMS)
    consumers: tuple[ConsumerSpec, ...] = field(default=CONSUMERS)
    buckets: tuple[BucketSpec, ...] = field(default=BUCKETS)

    @property
    def stream_count(self) -> int:
        """A bucket is a stream, too."""
        return len(self.streams) + len(self.buckets)


TOPOLOGY = Topology()


def stream(name: str) -> StreamSpec:
    """The stream of that name.

    Raises:
        KeyError: no such stream.
    """
    return {spec.name: spec for spec in STREAMS}[name]


def consumer(name: str) -> ConsumerSpec:
    """The consumer of that name.

    Raises:
        KeyError: no such consumer.
    """
    return {spec.name: spec for spec in CONSUMERS}[name]

"""Hears what pods report, as it travels to its store, and hands it to whoever follows the job.

A plain subscription with the client itself: a subscriber of the framework would acknowledge or answer, and the answer
would reach the publisher in place of the broker's.
"""

from collections.abc import Callable

from nats.aio.msg import Msg
from pydantic import ValidationError

from stoker_api.following import wire
from stoker_api.following.hub import LiveHub
from stoker_api.following.schemas import progress_update
from stoker_shared import subjects
from stoker_shared.bus import Bus
from stoker_shared.bus.flushing import until_server_has_read
from stoker_shared.logging import get_logger
from stoker_shared.rpc.metrics import Heartbeat, LogBatch, MetricsBatch

logger = get_logger(__name__)


def _metrics(payload: bytes) -> bytes:
    return wire.telemetry("metrics", MetricsBatch.model_validate_json(payload).model_dump_json())


def _log(payload: bytes) -> bytes:
    return wire.telemetry("log", LogBatch.model_validate_json(payload).model_dump_json())


def _progress(payload: bytes) -> bytes:
    return wire.telemetry("progress", progress_update(Heartbeat.model_validate_json(payload)).model_dump_json())


KINDS: dict[str, Callable[[bytes], bytes]] = {"metrics": _metrics, "logs": _log, "heartbeat": _progress}
"""What a subject's last word makes of its payload."""


class TelemetryListener:
    """Fans live telemetry out. What is missed here is in the store: GET /v1/jobs/{id}/metrics and /logs."""

    def __init__(self, bus: Bus, hub: LiveHub) -> None:
        self._bus = bus
        self._hub = hub

    async def start(self) -> None:
        """Subscribe; after the bus has started."""
        client = self._bus.broker.connection
        for kind in KINDS:
            await client.subscribe(f"{subjects.TELEMETRY_ROOT}.*.{kind}", cb=self.heard)
        await until_server_has_read(client)

    async def heard(self, message: Msg) -> None:
        """Hand one message on. Messages of jobs that nobody follows are not even decoded."""
        _root, job_id, kind = message.subject.split(".")
        if not self._hub.is_followed(job_id):
            return
        try:
            self._hub.push(job_id, KINDS[kind](message.data))
        except ValidationError as error:
            logger.warning("telemetry not understood", subject=message.subject, faults=error.error_count())

"""What passes between the layers of `storing`."""

from dataclasses import dataclass
from datetime import datetime

from stoker_shared.rpc.metrics import Alert, Exit, Heartbeat, LogBatch, MetricsBatch

Telemetry = MetricsBatch | LogBatch | Heartbeat | Alert | Exit
"""What travels on `tel.>`."""

AttemptKey = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Received:
    """A message with the moment at which the broker took it."""

    message: Telemetry
    received_at: datetime

    @property
    def key(self) -> AttemptKey:
        """Job and attempt."""
        return self.message.job_id, self.message.attempt

"""The durable consumer `metrics_store`. A message is acknowledged after the commit that stores it."""

from collections.abc import Callable, Sequence
from datetime import timedelta

from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_delay, wait_fixed

from stoker_metrics.attempts.silence import Hearing
from stoker_metrics.storing.schemas import Received
from stoker_metrics.storing.service import Store
from stoker_shared.bus import Bus, Delivery, consume_batches
from stoker_shared.errors import TransientError
from stoker_shared.rpc.metrics import TELEMETRY
from stoker_shared.topology import consumer

CONSUMER = "metrics_store"
STREAM = consumer(CONSUMER).stream
_RETRY_SECONDS = 0.5


class Storing:
    """Stores messages in batches; waits a little for a database that is away before they go back."""

    def __init__(
        self, store: Store, *, hearing: Hearing, wake: Callable[[], None], batch: int, patience: timedelta
    ) -> None:
        self._store = store
        self._hearing = hearing
        self._wake = wake
        self._batch = batch
        self._patience = patience

    def register(self, bus: Bus) -> None:
        """Consume what pods report."""
        consume_batches(bus, CONSUMER, TELEMETRY, self.handle, limit=self._batch)

    async def handle(self, batch: Sequence[Delivery]) -> None:
        """Return when all messages are committed."""
        # Redelivery has a growing delay: after a short outage waiting here is sooner.
        retrying = AsyncRetrying(
            retry=retry_if_exception_type(TransientError),
            stop=stop_after_delay(self._patience),
            wait=wait_fixed(_RETRY_SECONDS),
            before_sleep=lambda _state: self._hearing.failed(),
            reraise=True,
        )
        try:
            told: int = await retrying(self._store.store, [_received(delivery) for delivery in batch])
        except TransientError:
            self._hearing.failed()
            raise
        if told:
            self._wake()


def _received(delivery: Delivery) -> Received:
    return Received(delivery.message, delivery.context.received_at)

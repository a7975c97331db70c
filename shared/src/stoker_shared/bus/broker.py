"""The connection of one service to the broker."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from faststream import AckPolicy
from faststream.exceptions import IncorrectState
from faststream.nats import NatsBroker
from faststream.nats.broker.broker import UNRECOVERABLE_CONNECT_ERRORS
from faststream.nats.security import NatsNKey
from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.js.errors import NotFoundError
from pydantic import BaseModel, ConfigDict

from stoker_shared.bus.batches import BatchConsumer
from stoker_shared.bus.flushing import until_server_has_read
from stoker_shared.bus.grouping import GroupingPublisher
from stoker_shared.bus.publishing import JetStreamPublisher
from stoker_shared.bus.responding import Respond, Responders
from stoker_shared.bus.retry import retry_middleware
from stoker_shared.errors import BrokerUnavailable
from stoker_shared.figures import BROKER_UP
from stoker_shared.logging import get_logger
from stoker_shared.subjects import inbox_prefix
from stoker_shared.tasks import end_process_if_failed
from stoker_shared.topology import consumer

logger = get_logger(__name__)


class BusSettings(BaseModel):
    """Where the broker is, and as whom to speak to it."""

    model_config = ConfigDict(frozen=True)

    url: str
    service: str
    seed_file: Path
    # Longer than any handler of ours takes; None would abandon running handlers at a stop.
    graceful_timeout_seconds: float = 20.0


class Bus:
    """Owns the broker object. Register consumers and answers on it, then `start`, at the end `stop`."""

    def __init__(self, settings: BusSettings) -> None:
        self.settings = settings
        self.publisher = JetStreamPublisher(self._client)
        self.grouping_publisher = GroupingPublisher(self._client, self.publisher)
        self.consumers: list[str] = []
        self._responders = Responders()
        self._batch_consumers: list[BatchConsumer] = []
        self._on_reconnect: list[Callable[[], None]] = []
        self._is_started = False
        self._is_stopping = False
        self.broker = NatsBroker(
            settings.url,
            name=settings.service,
            security=NatsNKey.from_file(settings.seed_file),
            # The client's own limit of attempts ends in a closed connection, and FastStream's pull loop then spins.
            max_reconnect_attempts=-1,
            reconnect_time_wait=1,
            connect_timeout=5,
            ping_interval=10,
            graceful_timeout=settings.graceful_timeout_seconds,
            inbox_prefix=inbox_prefix(settings.service),
            ack_policy=AckPolicy.NACK_ON_ERROR,
            # Handlers are checked by mypy and take one argument; injecting it costs more than most of them do.
            apply_types=False,
            middlewares=[retry_middleware(self.publisher)],
            error_cb=self._log_error,
            closed_cb=self._exit_process,
            reconnected_cb=self._reconnected,
            logger=None,
        )

        BROKER_UP.set_function(self._is_connected)

    @property
    def pull_inbox_prefix(self) -> bytes:
        """Pull subscribers ignore the broker's inbox prefix and need it told again."""
        return f"{inbox_prefix(self.settings.service)}.".encode()

    def respond_to(self, subject: str, *, queue: str, respond: Respond) -> None:
        """Answer requests on a subject from `start` on; members of a queue share them."""
        self._responders.add(subject, queue=queue, respond=respond)

    def hear(self, subject: str, handle: Callable[[bytes], Coroutine[Any, Any, None]]) -> None:
        """Get every message on a subject from `start` on, in every replica; what comes while disconnected is missed."""
        self._responders.add(subject, queue="", respond=lambda message: handle(message.data))

    def add_batches(self, batches: BatchConsumer) -> None:
        """Consume in batches from `start` on."""
        self._batch_consumers.append(batches)
        self.on_reconnect(batches.connection_returned)

    def on_reconnect(self, callback: Callable[[], None]) -> None:
        """Call this when the connection is back after a loss."""
        self._on_reconnect.append(callback)

    async def start(self, *, attempts_every: float = 0.5) -> None:
        """Connect, wait until the consumers of this service exist, begin to consume."""
        await self.broker.connect()
        await self._wait_for_consumers(attempts_every)
        await self.broker.start()
        await self._responders.start(self._client())
        for batches in self._batch_consumers:
            running = await batches.start(
                self._client(), self.publisher, inbox_prefix=inbox_prefix(self.settings.service)
            )
            running.add_done_callback(end_process_if_failed)
        # Else a peer may ask before the server has seen our subscriptions.
        await until_server_has_read(self._client())
        self._is_started = True

    async def stop(self) -> None:
        """Let running handlers end, then disconnect."""
        self._is_stopping = True
        client = self._client()
        try:
            await self._responders.stop(patience=self.settings.graceful_timeout_seconds)
            for batches in self._batch_consumers:
                await batches.stop(patience=self.settings.graceful_timeout_seconds)
            await self.broker.stop()
        except NatsError as error:
            # Draining needs the connection; what was not acknowledged comes again to whoever starts next.
            logger.warning("stopped without the broker", reason=type(error).__name__)
            self._end_pulling()
            with contextlib.suppress(NatsError, OSError):
                await client.close()

    async def is_ready(self) -> bool:
        """Whether the connection is up."""
        return await self.broker.ping(timeout=1.0)

    def _client(self) -> Client:
        try:
            return self.broker.connection
        except IncorrectState as error:  # before the start, or after the stop
            raise BrokerUnavailable("anything", "the connection is not open") from error

    def _is_connected(self) -> bool:
        try:
            return self._client().is_connected
        except BrokerUnavailable:
            return False

    async def _wait_for_consumers(self, attempts_every: float) -> None:
        # Consumers are made by the topology keeper; asking FastStream to make them would need rights that we lack.
        manager = self._client().jetstream(timeout=2.0)
        for name in self.consumers:
            spec = consumer(name)
            while True:
                try:
                    await manager.consumer_info(spec.stream, spec.name)
                    break
                except (NotFoundError, NatsError, TimeoutError) as error:
                    logger.info("waiting for consumer", consumer=name, reason=type(error).__name__)
                    await asyncio.sleep(attempts_every)

    async def _log_error(self, error: Exception) -> None:
        # Also how a forbidden publish shows: the caller only sees a timeout.
        logger.error("broker error", error=str(error), kind=type(error).__name__)
        if self._is_started and _is_refusal(error):
            # FastStream raises it again inside the client's reconnect task, which ends there: nobody would try on.
            await self._exit_process()

    async def _reconnected(self) -> None:
        logger.warning("connection to the broker is back")
        for callback in self._on_reconnect:
            callback()

    async def _exit_process(self) -> None:
        if self._is_stopping:
            return
        logger.critical("connection to the broker is lost for good; ending so that the supervisor starts anew")
        self._end_pulling()
        os.kill(os.getpid(), signal.SIGTERM)

    def _end_pulling(self) -> None:
        # On a closed connection FastStream's pull loops spin without a pause, and nothing else would run, not even
        # the handling of the signal.
        for subscriber in self.broker.subscribers:
            subscriber.running = False


def _is_refusal(error: Exception) -> bool:
    return isinstance(error, NatsError) and any(word in str(error).lower() for word in UNRECOVERABLE_CONNECT_ERRORS)

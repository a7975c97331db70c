"""Publishing with the broker's acknowledgement."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.errors import MaxPayloadError
from nats.js.errors import APIError
from nats.js.errors import Error as JetStreamError

from stoker_shared.errors import BrokerUnavailable, MessageInvalid
from stoker_shared.figures import PUBLISHED
from stoker_shared.topology import STREAMS

MESSAGE_ID_HEADER = "Nats-Msg-Id"


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """Where the broker stored a message. `is_duplicate`: it had it already."""

    stream: str
    sequence: int
    is_duplicate: bool


@dataclass(frozen=True, slots=True)
class StreamState:
    """How far a stream has come."""

    created_at: datetime
    last_sequence: int


class JetStreamPublisher:
    """Publishes to streams. A failure means "unknown whether stored": the message id makes trying again safe."""

    def __init__(self, client: Callable[[], Client], *, timeout: float = 5.0) -> None:
        self._client = client
        self._timeout = timeout

    async def publish(
        self, subject: str, payload: bytes, *, message_id: str, headers: dict[str, str] | None = None
    ) -> Acknowledgement:
        """Publish and wait until the message is on the broker's disk.

        Raises:
            BrokerUnavailable: no acknowledgement; the message may be stored nevertheless.
            MessageInvalid: larger than the broker takes; no retry can mend it.
        """
        try:
            client = self._client()
            if not client.is_connected:
                # The client would keep it in a buffer and send it after a reconnect, long after we gave it up.
                raise BrokerUnavailable(subject, "not connected")
            acknowledgement = await client.jetstream(timeout=self._timeout).publish(
                subject, payload, headers={**(headers or {}), MESSAGE_ID_HEADER: message_id}
            )
        except MaxPayloadError as error:
            _count(subject, "failed")
            raise MessageInvalid(f"{len(payload)} bytes for {subject} are more than the broker takes.") from error
        except (NatsError, JetStreamError, APIError, TimeoutError, OSError) as error:
            _count(subject, "failed")
            raise BrokerUnavailable(subject, type(error).__name__) from error
        _count(subject, "duplicate" if acknowledgement.duplicate else "stored")
        return Acknowledgement(
            stream=acknowledgement.stream, sequence=acknowledgement.seq, is_duplicate=bool(acknowledgement.duplicate)
        )

    async def stream_names(self) -> list[str]:
        """The streams of our topology."""
        return [stream.name for stream in STREAMS]

    async def shared_stream_names(self) -> list[str]:
        """Those that keep what was read, so that a message sent again is known by its id, whoever else writes there."""
        return [stream.name for stream in STREAMS if stream.retention == "limits"]

    async def has_caught_up(self, stream: str, consumer: str, *, sequence: int) -> bool:
        """Whether a durable consumer of ours has handled all messages of a stream up to this one.

        Raises:
            BrokerUnavailable: the broker does not answer, or has no such consumer (yet).
        """
        try:
            info = await self._client().jetstream(timeout=self._timeout).consumer_info(stream, consumer)
        except (NatsError, JetStreamError, APIError, TimeoutError, OSError) as error:
            raise BrokerUnavailable(f"consumer {consumer}", type(error).__name__) from error
        if not info.num_pending and not info.num_ack_pending:
            return True
        return info.ack_floor is not None and info.ack_floor.stream_seq >= sequence

    async def stream_state(self, stream: str) -> StreamState:
        """How far a stream has come.

        Raises:
            BrokerUnavailable: the broker does not answer, or has no such stream (yet).
        """
        try:
            if not self._client().is_connected:
                raise BrokerUnavailable(f"stream {stream}", "not connected")
            info = await self._client().jetstream(timeout=self._timeout).stream_info(stream)
        except (NatsError, JetStreamError, APIError, TimeoutError, OSError) as error:
            raise BrokerUnavailable(f"stream {stream}", type(error).__name__) from error
        if info.created is None:
            raise BrokerUnavailable(f"stream {stream}", "no creation time in the answer")
        return StreamState(created_at=info.created, last_sequence=info.state.last_seq)


def _count(subject: str, outcome: str) -> None:
    PUBLISHED.labels(subject.partition(".")[0], outcome).inc()

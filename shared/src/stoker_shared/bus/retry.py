"""What becomes of a message whose handler fails: again later for what may pass, the dead letters for what cannot."""

import random
import sys
from functools import partial
from typing import Any, NoReturn

from faststream.exceptions import HandlerException, NackMessage, RejectMessage
from faststream.message import StreamMessage
from faststream.middlewares import BaseMiddleware
from nats.aio.msg import Msg
from nats.errors import NotJSMessageError

from stoker_shared import subjects
from stoker_shared.bus.publishing import JetStreamPublisher
from stoker_shared.errors import MessageInvalid, TransientError
from stoker_shared.figures import MESSAGES
from stoker_shared.logging import get_logger
from stoker_shared.topology import CONSUMERS

logger = get_logger(__name__)

BASE_DELAY_SECONDS = 0.25
MAX_DELAY_SECONDS = 60.0
_JITTER = 0.2
_NO_DEAD_LETTERS_SECONDS = 5.0

# Counted here and not by the broker: a message at the broker's limit would stay in a work queue for ever, unhandled
# and without a dead letter.
_MAX_DELIVER = {(spec.stream, spec.name): spec.max_deliver for spec in CONSUMERS}


class DeliveriesExhausted(MessageInvalid):
    """A message was delivered as often as it may be, and no handler came to an end with it."""

    def __init__(self, deliveries: int) -> None:
        super().__init__(f"{deliveries} deliveries ended neither in success nor in an error.")


def retry_delay(delivered: int, *, jitter: float) -> float:
    """Seconds until the next delivery after `delivered` ones; `jitter` in -1..1 moves it by up to a fifth."""
    return float(min(BASE_DELAY_SECONDS * 2 ** min(delivered - 1, 20), MAX_DELAY_SECONDS) * (1 + _JITTER * jitter))


def exhausted(metadata: Msg.Metadata) -> DeliveriesExhausted | None:
    """The error of a message that must not be handled any more: it took the process down, or hung each time."""
    return DeliveriesExhausted(metadata.num_delivered - 1) if metadata.num_delivered > _limit(metadata) else None


async def seconds_until_again(raw: Msg, error: Exception, *, publisher: JetStreamPublisher) -> float | None:
    """When a message whose handler failed is to come again; None: never, it lies in the dead letters now.

    Without a delay the server redelivers at once, thousands of times a second.
    """
    metadata = raw.metadata
    if isinstance(error, TransientError) and metadata.num_delivered < _limit(metadata):
        MESSAGES.labels(metadata.consumer, "again").inc()
        delay = retry_delay(metadata.num_delivered, jitter=random.uniform(-1, 1))  # noqa: S311
        logger.warning(
            "handler waits", subject=raw.subject, delivered=metadata.num_delivered, reason=error.detail, delay=delay
        )
        return delay
    logger.error("message to the dead letters", subject=raw.subject, exc_info=error)
    try:
        # Rejecting removes the message from a work queue: copy it first.
        await publisher.publish(
            subjects.dead(raw.subject),
            raw.data,
            message_id=f"dead:{metadata.stream}:{metadata.consumer}:{metadata.sequence.stream}",
            headers=_dead_headers(raw, error),
        )
    except TransientError as unavailable:
        logger.warning("the dead letters cannot be reached", subject=raw.subject, reason=unavailable.detail)
        return _NO_DEAD_LETTERS_SECONDS
    MESSAGES.labels(metadata.consumer, "dead").inc()
    return None


def retry_middleware(publisher: JetStreamPublisher) -> Any:
    """A middleware factory for a broker: one instance per message."""
    return partial(RetryMiddleware, publisher=publisher)


class RetryMiddleware(BaseMiddleware[Any, Any]):
    """Turns what a handler raises into a nack with a delay, or into a dead letter."""

    def __init__(self, msg: Any, /, *, context: Any, publisher: JetStreamPublisher) -> None:
        super().__init__(msg, context=context)
        self._publisher = publisher

    async def consume_scope(self, call_next: Any, msg: StreamMessage[Any]) -> Any:
        """Run the handler."""
        metadata = _metadata(msg.raw_message)
        if metadata is None:  # a core message, an RPC: the caller sees the failure
            return await call_next(msg)
        if error := exhausted(metadata):
            await self._end(msg.raw_message, error)
        try:
            result = await call_next(msg)
        except HandlerException:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, it is kept and logged
            await self._end(msg.raw_message, error)
        else:
            MESSAGES.labels(metadata.consumer, "done").inc()
            return result

    async def _end(self, raw: Msg, error: Exception) -> NoReturn:
        delay = await seconds_until_again(raw, error, publisher=self._publisher)
        if delay is None:
            raise RejectMessage from error
        raise NackMessage(delay=delay) from error


def _limit(metadata: Msg.Metadata) -> int:
    return _MAX_DELIVER.get((metadata.stream, metadata.consumer), sys.maxsize)


def _metadata(raw: Any) -> Msg.Metadata | None:
    try:
        return raw.metadata if isinstance(raw, Msg) else None
    except NotJSMessageError:
        return None


def _dead_headers(raw: Msg, error: Exception) -> dict[str, str]:
    kept = {name: value for name, value in (raw.headers or {}).items() if not name.lower().startswith("nats-")}
    reason = f"{type(error).__name__}: {error}".replace("\n", " ").replace("\r", " ")[:500]
    return {**kept, "Stoker-Dead-Reason": reason.encode("ascii", "replace").decode()}

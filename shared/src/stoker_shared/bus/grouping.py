"""Publishing in groups: what comes while a group is on its way makes the next one, and the broker takes it whole.

A broker that syncs its disk for each message takes some hundreds in a second. An atomic batch costs it one answer and
little more than one sync. One message alone goes alone.
"""

import asyncio
import json
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import uuid4

from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.errors import MaxPayloadError

from stoker_shared.bus.publishing import MESSAGE_ID_HEADER, JetStreamPublisher
from stoker_shared.errors import BrokerUnavailable
from stoker_shared.logging import get_logger

logger = get_logger(__name__)

MOST_IN_GROUP = 100
MOST_BYTES_IN_GROUP = 1 << 20
GROUPS_IN_FLIGHT = 2


@dataclass(frozen=True, slots=True)
class _Waiting:
    subject: str
    payload: bytes
    headers: dict[str, str]
    done: "asyncio.Future[None]"


class GroupingPublisher:
    """Publishes to one stream that has `allow_atomic`. Promises what `JetStreamPublisher` does."""

    def __init__(self, client: Callable[[], Client], single: JetStreamPublisher, *, timeout: float = 5.0) -> None:
        self._client = client
        self._single = single
        self._timeout = timeout
        self._waiting: list[_Waiting] = []
        self._begun: deque[tuple[float, asyncio.Future[None]]] = deque()
        self._senders: set[asyncio.Task[None]] = set()

    async def publish(
        self, subject: str, payload: bytes, *, message_id: str, headers: dict[str, str] | None = None
    ) -> None:
        """Publish and wait until the message is on the broker's disk.

        Raises:
            BrokerUnavailable: no acknowledgement; the message may be stored nevertheless.
            MessageInvalid: larger than the broker takes; no retry can mend it.
        """
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._forget_done()
        self._begun.append((time.monotonic(), done))
        self._waiting.append(_Waiting(subject, payload, {**(headers or {}), MESSAGE_ID_HEADER: message_id}, done))
        if len(self._senders) < GROUPS_IN_FLIGHT:
            sender = asyncio.create_task(self._send_waiting(), name="group of messages")
            self._senders.add(sender)
            sender.add_done_callback(self._senders.discard)
        await done

    @property
    def longest_wait(self) -> timedelta:
        """How long the oldest message that is not acknowledged waits."""
        self._forget_done()
        if not self._begun:
            return timedelta(0)
        return timedelta(seconds=time.monotonic() - self._begun[0][0])

    def _forget_done(self) -> None:
        while self._begun and self._begun[0][1].done():
            self._begun.popleft()

    async def _send_waiting(self) -> None:
        while group := self._next_group():
            error = await self._send_group(group) if len(group) > 1 else _NOT_ATOMIC
            if error is _NOT_ATOMIC:
                await asyncio.gather(*(self._send_single(message) for message in group))
                continue
            for message in group:
                _settle(message, error)

    def _next_group(self) -> list[_Waiting]:
        size = count = 0
        for message in self._waiting[:MOST_IN_GROUP]:
            size += len(message.payload)
            if count and size > MOST_BYTES_IN_GROUP:
                break
            count += 1
        group, self._waiting = self._waiting[:count], self._waiting[count:]
        return group

    async def _send_group(self, group: Sequence[_Waiting]) -> BrokerUnavailable | None:
        """None: all are stored. `_NOT_ATOMIC`: none is; one by one each will meet its own fate."""
        try:
            refusal = await self._commit(group)
        except BrokerUnavailable as error:
            return error
        except MaxPayloadError as error:
            refusal = type(error).__name__
        except (NatsError, TimeoutError, OSError) as error:
            return BrokerUnavailable(group[-1].subject, type(error).__name__)
        except Exception:
            # One message is at fault. Alone it gets its own error; nobody may wait for ever, nor fail for another's.
            logger.exception("a group cannot be sent; it is sent one by one", messages=len(group))
            return _NOT_ATOMIC
        if refusal is None:
            return None
        # Most often one of them was there already: sent again after an answer that was lost.
        logger.info("a group is sent one by one", messages=len(group), refusal=refusal)
        return _NOT_ATOMIC

    async def _commit(self, group: Sequence[_Waiting]) -> object:
        """What the broker has against the group; None: it is stored."""
        batch_id, last = uuid4().hex, group[-1]
        client = self._client()
        if not client.is_connected:
            raise BrokerUnavailable(last.subject, "not connected")
        for number, message in enumerate(group[:-1], start=1):
            await client.publish(message.subject, message.payload, headers=_batched(message, batch_id, number))
        headers = _batched(last, batch_id, len(group)) | {"Nats-Batch-Commit": "1"}
        answer = await client.request(last.subject, last.payload, timeout=self._timeout, headers=headers)
        return json.loads(answer.data).get("error")

    async def _send_single(self, message: _Waiting) -> None:
        headers = dict(message.headers)
        message_id = headers.pop(MESSAGE_ID_HEADER)
        try:
            await self._single.publish(message.subject, message.payload, message_id=message_id, headers=headers)
        except Exception as error:  # noqa: BLE001 - handed to whoever waits for the message
            _settle(message, error)
        else:
            _settle(message, None)


_NOT_ATOMIC = BrokerUnavailable("a group", "refused as a whole")


def _batched(message: _Waiting, batch_id: str, number: int) -> dict[str, str]:
    return message.headers | {"Nats-Batch-Id": batch_id, "Nats-Batch-Sequence": str(number)}


def _settle(message: _Waiting, error: Exception | None) -> None:
    if message.done.done():  # whoever waited was cancelled
        return
    if error is None:
        message.done.set_result(None)
    else:
        message.done.set_exception(error)

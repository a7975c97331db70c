"""The relay: sends what the outbox holds, and sends it again if a broker comes back with less than it had."""

import asyncio
import json
from collections import defaultdict
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID, uuid4

from pydantic import BaseModel, ConfigDict
from sqlalchemy.ext.asyncio import AsyncSession

from stoker_shared.bus.publishing import Acknowledgement, JetStreamPublisher
from stoker_shared.clock import Clock
from stoker_shared.commands import Command
from stoker_shared.database.engine import Database
from stoker_shared.errors import TransientError
from stoker_shared.events import Event
from stoker_shared.figures import OUTBOX_WAITING
from stoker_shared.logging import get_logger
from stoker_shared.outbox.repository import ClaimedMessage, OutboxRepository, Watermark

logger = get_logger(__name__)


class RelaySettings(BaseModel):
    """How the relay paces itself."""

    model_config = ConfigDict(frozen=True)

    batch_size: int = 100
    # How long the messages of a job stand still after a kill. Longer than a publish waits for its acknowledgement; a
    # message that is sent twice nevertheless counts once at the broker.
    lease: timedelta = timedelta(seconds=10)
    idle_poll: timedelta = timedelta(seconds=1)
    broker_check: timedelta = timedelta(seconds=10)
    # Shorter than the broker's duplicate window: what is offered again and was not lost is dropped there.
    offer_again: timedelta = timedelta(minutes=10)
    # Far beyond the broker's fsync window (2 minutes at worst): what it may lose can still be fed again.
    keep_published: timedelta = timedelta(minutes=30)
    # Longer than events live in the broker's stream, so no redelivery can outlive the memory of it.
    keep_processed: timedelta = timedelta(days=31)
    sweep: timedelta = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class FirstMessage:
    """A stored message under a claim of its own."""

    token: UUID
    message: ClaimedMessage


class Relay:
    """Runs beside a service. `wake` after a commit makes it send at once; without it the poll finds the row."""

    def __init__(
        self, database: Database, publisher: JetStreamPublisher, *, clock: Clock, settings: RelaySettings | None = None
    ) -> None:
        self._database = database
        self._publisher = publisher
        self._clock = clock
        self._settings = settings or RelaySettings()
        self._rows = OutboxRepository()
        self._awake = asyncio.Event()
        self._checked_at = clock.now() - self._settings.broker_check
        self._has_returned = True
        self._swept_at = clock.now()
        self._sending: set[asyncio.Task[None]] = set()

    async def enqueue_first(self, session: AsyncSession, message: Event | Command) -> FirstMessage:
        """Store the first message of a job so that `send_first`, after the commit, need not look for it.

        Should this process die in between, the message is sent when its lease has run out.
        """
        token = uuid4()
        until = self._clock.now() + self._settings.lease
        return FirstMessage(token, await self._rows.add_claimed(session, message, token=token, until=until))

    def send_first(self, first: FirstMessage) -> None:
        """Begin to send a message whose transaction has committed."""
        task = asyncio.create_task(self._send_first(first), name="outbox first message")
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    def wake(self) -> None:
        """There is something to send."""
        self._awake.set()

    def broker_returned(self) -> None:
        """The connection was lost and is back: look at once whether the broker lost messages."""
        self._has_returned = True
        self._awake.set()

    async def run(self) -> None:
        """Send until cancelled."""
        while True:
            self._awake.clear()
            if await self._round() == 0:
                await self._sleep()

    async def _round(self) -> int:
        try:
            # First: what is sent now would fill the gap by which a loss is seen.
            await self._housekeeping()
            return await self.send_pending()
        except TransientError as error:
            logger.warning("outbox relay waits", reason=error.detail)
        except Exception:
            # Nobody awaits this task: if it ended, nothing would ever be sent again and nobody would know.
            logger.exception("outbox relay failed; it goes on")
        return 0

    async def send_pending(self) -> int:
        """Claim one batch and send it. Returns how many messages the broker acknowledged."""
        async with self._database.transaction() as session:
            token, claimed = await self._rows.claim(
                session, now=self._clock.now(), lease=self._settings.lease, limit=self._settings.batch_size
            )
        if not claimed:
            return 0
        published = await self._publish(claimed)
        await self._record(token, published)
        if len(published) < len(claimed):
            logger.warning("outbox messages not acknowledged", missing=len(claimed) - len(published))
        return len(published)

    async def _send_first(self, first: FirstMessage) -> None:
        try:
            # Whether the broker lost messages is looked at before anything fills the gap.
            published = [] if self._has_returned else await self._publish([first.message])
            await self._record(first.token, published)
        except TransientError as error:
            logger.warning("first message not recorded", reason=error.detail)
        except Exception:
            logger.exception("first message not sent; the poll sends it")
        else:
            if not published:
                self.wake()

    async def _record(self, token: UUID, published: list[tuple[int, str, int]]) -> None:
        async with self._database.transaction() as session:
            await self._rows.mark_published(session, token=token, published=published, now=self._clock.now())
            await self._rows.release(session, token=token)

    async def _count_waiting(self) -> None:
        async with self._database.transaction() as session:
            OUTBOX_WAITING.set(await self._rows.count_waiting(session))

    async def check_broker(self) -> int:
        """Compare each stream with how far it had come; queue lost messages again. Returns how many."""
        refed = 0
        for stream in await self._publisher.stream_names():
            # Read before the broker is asked: a replica may send meanwhile, and that is not a loss.
            async with self._database.transaction() as session:
                before = await self._rows.watermark(session, stream=stream)
            state = await self._publisher.stream_state(stream)
            seen = Watermark(created_at=state.created_at, last_sequence=state.last_sequence)
            async with self._database.transaction() as session:
                if before is not None:
                    refed += await self._refeed_lost(session, stream=stream, before=before, seen=seen)
                await self._rows.set_watermark(session, stream=stream, watermark=seen)
        return refed

    async def offer_again(self) -> int:
        """Queue what was sent lately again. Returns how many.

        Where several services write, another one may fill the gap of a loss before it is looked for.
        """
        offered = 0
        for stream in await self._publisher.shared_stream_names():
            async with self._database.transaction() as session:
                since = self._clock.now() - self._settings.offer_again
                offered += await self._rows.offer_again(session, stream=stream, since=since)
        return offered

    async def _refeed_lost(self, session: AsyncSession, *, stream: str, before: Watermark, seen: Watermark) -> int:
        is_another_stream = seen.created_at != before.created_at
        if not is_another_stream and seen.last_sequence >= before.last_sequence:
            return 0
        after = 0 if is_another_stream else seen.last_sequence
        refed = await self._rows.refeed(session, stream=stream, after=after)
        logger.error(
            "broker came back with less",
            stream=stream,
            had=before.last_sequence,
            has=seen.last_sequence,
            recreated=is_another_stream,
            refed=refed,
        )
        return refed

    async def _publish(self, claimed: list[ClaimedMessage]) -> list[tuple[int, str, int]]:
        by_key: dict[str, list[ClaimedMessage]] = defaultdict(list)
        for message in claimed:
            by_key[message.ordering_key].append(message)
        results = await asyncio.gather(*(self._publish_in_order(messages) for messages in by_key.values()))
        return [item for result in results for item in result]

    async def _publish_in_order(self, messages: list[ClaimedMessage]) -> list[tuple[int, str, int]]:
        published: list[tuple[int, str, int]] = []
        for message in messages:
            try:
                acknowledgement = await self._send(message)
            except TransientError as error:
                # Unknown whether it is stored: nothing of this key may overtake it.
                logger.warning("publish not confirmed", subject=message.subject, reason=error.detail)
                return published
            except Exception:
                # One message that cannot be sent stops its own key, not the others.
                logger.exception("outbox message cannot be sent", subject=message.subject, event_id=message.event_id)
                return published
            published.append((message.id, acknowledgement.stream, acknowledgement.sequence))
        return published

    async def _send(self, message: ClaimedMessage) -> Acknowledgement:
        return await self._publisher.publish(
            message.subject,
            json.dumps(message.payload).encode(),
            message_id=str(message.event_id),
            headers=message.headers,
        )

    async def _housekeeping(self) -> None:
        now = self._clock.now()
        if self._has_returned or now - self._checked_at >= self._settings.broker_check:
            await self._count_waiting()
            await self.check_broker()
            self._checked_at = now
        if self._has_returned:
            self._has_returned = False
            await self.offer_again()
        if now - self._swept_at >= self._settings.sweep:
            self._swept_at = now
            async with self._database.transaction() as session:
                await self._rows.sweep(
                    session,
                    published_before=now - self._settings.keep_published,
                    processed_before=now - self._settings.keep_processed,
                )

    async def _sleep(self) -> None:
        try:
            async with asyncio.timeout(self._settings.idle_poll.total_seconds()):
                await self._awake.wait()
        except TimeoutError:
            return

"""The relay: order per job, one message per row, whoever dies when."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from stoker.stack.standalone import RunningNats, RunningPostgres
from stoker_shared.bus import Acknowledgement, Bus, JetStreamPublisher
from stoker_shared.clock import Clock, ManualClock, SystemClock
from stoker_shared.database import Database
from stoker_shared.errors import BrokerUnavailable
from stoker_shared.outbox import Relay, RelaySettings, enqueue
from stoker_shared.tasks import end_tasks
from tests.support.bus import bus_of, kill, raw_client, start, started, stored, until
from tests.support.outbox import ForgetfulPublisher, fact, fill, is_sent, job, sequences, waiting

QUICK = RelaySettings(idle_poll=timedelta(seconds=0.05), broker_check=timedelta(seconds=0.2))


@pytest.fixture
async def deployer(clean_bus: RunningNats) -> AsyncIterator[Bus]:
    async with started(bus_of(clean_bus, "deployer")) as bus:
        yield bus


@asynccontextmanager
async def running(relay: Relay) -> AsyncIterator[Relay]:
    task = asyncio.create_task(relay.run())
    try:
        yield relay
    finally:
        await end_tasks([task])


def relay_of(
    database: Database, publisher: JetStreamPublisher, *, clock: Clock | None = None, settings: RelaySettings = QUICK
) -> Relay:
    return Relay(database, publisher, clock=clock or SystemClock(), settings=settings)


class LosesSome(JetStreamPublisher):
    """Every third publish is not confirmed, half of those are stored nevertheless."""

    def __init__(self, real: JetStreamPublisher) -> None:
        super().__init__(real._client)
        self._calls = 0

    async def publish(
        self, subject: str, payload: bytes, *, message_id: str, headers: dict[str, str] | None = None
    ) -> Acknowledgement:
        self._calls += 1
        if self._calls % 3:
            return await super().publish(subject, payload, message_id=message_id, headers=headers)
        if self._calls % 2:
            await super().publish(subject, payload, message_id=message_id, headers=headers)
        raise BrokerUnavailable(subject, "lost on the way")


class Choosy(JetStreamPublisher):
    """Breaks on messages of one job."""

    def __init__(self, real: JetStreamPublisher, job_id: str) -> None:
        super().__init__(real._client)
        self._job_id = job_id

    async def publish(
        self, subject: str, payload: bytes, *, message_id: str, headers: dict[str, str] | None = None
    ) -> Acknowledgement:
        if self._job_id in subject:
            raise ValueError("cannot be written")
        return await super().publish(subject, payload, message_id=message_id, headers=headers)


async def test_a_woken_relay_sends_at_once(clean_bus: RunningNats, deployer: Bus, outbox_database: Database) -> None:
    patient = RelaySettings(idle_poll=timedelta(hours=1))
    async with running(relay_of(outbox_database, deployer.publisher, settings=patient)) as relay:
        await asyncio.sleep(0.3)
        await fill(outbox_database, jobs=1, events=1)
        relay.wake()
        (message,) = await until(lambda: stored(clean_bus, "EVENTS"))
    assert message.headers is not None
    assert message.headers["ce-type"] == "stoker.JobQueued.v2"
    assert message.headers["Nats-Msg-Id"] == message.headers["ce-id"]
    assert message.subject == f"evt.job.{job(1)}.queued"


async def test_a_message_of_a_transaction_that_was_rolled_back_is_never_sent(
    clean_bus: RunningNats, deployer: Bus, outbox_database: Database
) -> None:
    async def fail() -> None:
        async with outbox_database.transaction() as session:
            await enqueue(session, fact(job(1), 1))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert await relay_of(outbox_database, deployer.publisher).send_pending() == 0


async def test_each_jobs_messages_keep_their_order_while_relays_race(
    clean_bus: RunningNats, deployer: Bus, outbox_database: Database
) -> None:
    settings = QUICK.model_copy(update={"batch_size": 7})
    relays = [relay_of(outbox_database, LosesSome(deployer.publisher), settings=settings) for _ in range(3)]
    async with running(relays[0]), running(relays[1]), running(relays[2]):
        await fill(outbox_database, jobs=5, events=20)
        await until(lambda: is_sent(outbox_database), within=60)
    assert sequences(await stored(clean_bus, "EVENTS")) == {job(n): list(range(1, 21)) for n in range(1, 6)}


async def test_a_relay_killed_between_publish_and_mark_leaves_one_message(
    clean_bus: RunningNats, deployer: Bus, outbox_database: Database
) -> None:
    clock = ManualClock(datetime.now(UTC))
    await fill(outbox_database, jobs=1, events=2)
    dying = ForgetfulPublisher(deployer.publisher)
    with pytest.raises(asyncio.CancelledError):
        await relay_of(outbox_database, dying, clock=clock).send_pending()
    assert len(dying.sent) == 1
    assert len(await stored(clean_bus, "EVENTS")) == 1
    heir = relay_of(outbox_database, deployer.publisher, clock=clock)
    assert await heir.send_pending() == 0, "the dead relay's claim still holds"
    clock.advance(QUICK.lease + timedelta(seconds=1))
    assert await heir.send_pending() == 2
    messages = await stored(clean_bus, "EVENTS")
    assert sequences(messages) == {job(1): [1, 2]}
    assert dying.sent == [(messages[0].headers or {})["Nats-Msg-Id"]]


async def test_a_later_message_does_not_overtake_one_that_a_dead_relay_holds(
    clean_bus: RunningNats, deployer: Bus, outbox_database: Database
) -> None:
    clock = ManualClock(datetime.now(UTC))
    await fill(outbox_database, jobs=1, events=1)
    with pytest.raises(asyncio.CancelledError):
        await relay_of(outbox_database, ForgetfulPublisher(deployer.publisher), clock=clock).send_pending()
    await fill(outbox_database, jobs=2, events=1, first=2)
    heir = relay_of(outbox_database, deployer.publisher, clock=clock)
    assert await heir.send_pending() == 1, "only the other job's"
    clock.advance(QUICK.lease + timedelta(seconds=1))
    await heir.send_pending()
    assert sequences(await stored(clean_bus, "EVENTS")) == {job(1): [1, 2], job(2): [2]}


async def test_a_message_that_cannot_be_sent_stops_its_own_job_only(
    clean_bus: RunningNats, deployer: Bus, outbox_database: Database
) -> None:
    await fill(outbox_database, jobs=3, events=2)
    async with running(relay_of(outbox_database, Choosy(deployer.publisher, job(2)))):

        async def two_left() -> bool:
            return await waiting(outbox_database) == 2

        await until(two_left)
    assert sequences(await stored(clean_bus, "EVENTS")) == {job(1): [1, 2], job(3): [1, 2]}


async def test_the_relay_outlives_an_outage_of_the_broker(
    clean_bus: RunningNats, deployer: Bus, outbox_database: Database
) -> None:
    relay = relay_of(outbox_database, deployer.publisher)
    deployer.on_reconnect(relay.broker_returned)
    async with running(relay):
        await fill(outbox_database, jobs=2, events=1)
        await until(lambda: is_sent(outbox_database))
        await kill(clean_bus)
        await fill(outbox_database, jobs=2, events=3, first=2)
        await asyncio.sleep(0.5)
        await start(clean_bus)
        await until(lambda: is_sent(outbox_database))
    assert sequences(await stored(clean_bus, "EVENTS")) == {job(1): [1, 2, 3, 4], job(2): [1, 2, 3, 4]}


async def test_the_relay_outlives_a_restart_of_the_database(
    clean_bus: RunningNats, deployer: Bus, outbox_database: Database, postgres: RunningPostgres
) -> None:
    async with running(relay_of(outbox_database, deployer.publisher)):
        await asyncio.to_thread(postgres.restart)
        await until(outbox_database.is_ready)
        await fill(outbox_database, jobs=1, events=1)
        await until(lambda: is_sent(outbox_database))
    assert len(await stored(clean_bus, "EVENTS")) == 1


async def test_the_relay_outlives_an_error_that_nobody_foresaw(
    clean_bus: RunningNats, deployer: Bus, outbox_database: Database
) -> None:
    async with outbox_database.transaction() as session:
        await session.execute(text("ALTER TABLE outbox RENAME TO hidden"))
    async with running(relay_of(outbox_database, deployer.publisher)):
        await asyncio.sleep(0.3)
        async with outbox_database.transaction() as session:
            await session.execute(text("ALTER TABLE hidden RENAME TO outbox"))
        await fill(outbox_database, jobs=1, events=1)
        await until(lambda: is_sent(outbox_database))


async def test_what_was_sent_long_ago_is_swept(deployer: Bus, outbox_database: Database) -> None:
    clock = ManualClock(datetime.now(UTC))
    relay = relay_of(outbox_database, deployer.publisher, clock=clock)
    await fill(outbox_database, jobs=1, events=3)
    await relay.send_pending()
    await fill(outbox_database, jobs=1, events=1, first=4)

    async def rows() -> int:
        async with outbox_database.transaction() as session:
            return int((await session.execute(text("SELECT count(*) FROM outbox"))).scalar_one())

    clock.advance(QUICK.keep_published - timedelta(minutes=1))
    await relay._housekeeping()
    assert await rows() == 4
    clock.advance(timedelta(minutes=2))
    await relay._housekeeping()
    assert await rows() == 1, "what was never sent is kept for ever"


async def test_an_operator_sees_nothing_of_a_message_but_its_contract(
    clean_bus: RunningNats, deployer: Bus, outbox_database: Database
) -> None:
    await fill(outbox_database, jobs=1, events=1)
    await relay_of(outbox_database, deployer.publisher).send_pending()
    async with raw_client(clean_bus, "operator") as client:
        message = await client.jetstream().get_last_msg("EVENTS", f"evt.job.{job(1)}.queued")
    assert set(message.headers or {}) == {
        "Nats-Msg-Id",
        "traceparent",
        "content-type",
        *(f"ce-{name}" for name in ("specversion", "id", "type", "source", "subject", "time")),
    }

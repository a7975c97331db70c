"""Job events in, deliveries out: over a real broker and database, to real receivers."""

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
from standardwebhooks import Webhook

from stoker.stack.standalone import RunningNats
from stoker_shared.bus import Bus, RpcClient
from stoker_shared.clock import ManualClock
from stoker_shared.errors import RemoteRefusal
from stoker_shared.events import JobCompleted, JobFailed, LandingStarted, LossTroubled, TrainingStarted
from stoker_shared.job_state import EndReason, JobStatus
from stoker_shared.rpc import notifications as rpc
from tests.support.bus import bus_of, started, stored, until
from tests.support.notifications import JOB, OWNER, STRANGER, Owner, job_event, key_file, notifying, queued, tell
from tests.support.receivers import Receiver, answer, receiving
from tests.support.servers import TestDatabase

REASON = next(iter(EndReason))


@dataclass
class Place:
    """The service, who asks it and who tells it."""

    owner: Owner
    stranger: Owner
    deployer: Bus
    clock: ManualClock
    database: TestDatabase
    receiver: Receiver

    async def rows(self, query: str) -> list[asyncpg.Record]:
        connection = await asyncpg.connect(self.database.url("metrics", driver="postgresql"))
        try:
            return list(await connection.fetch(query))
        finally:
            await connection.close()

    async def received(self, count: int) -> list[dict[str, Any]]:
        async def enough() -> bool:
            return len(self.receiver.requests) >= count

        await until(enough, what=f"{count} requests")
        return [json.loads(request.body) for request in self.receiver.requests]

    async def settled(self, *states: str) -> list[rpc.DeliveryFacts]:
        """The log, oldest first, when it shows these states."""

        async def shown() -> list[rpc.DeliveryFacts] | None:
            found = (await self.owner.log())[::-1]
            return found if [delivery.state for delivery in found] == list(states) else None

        return await until(shown, what=f"deliveries {states}") or []


@pytest.fixture
async def place(
    metrics_variables: dict[str, str], clean_bus: RunningNats, metrics_database: TestDatabase, tmp_path: Path
) -> AsyncIterator[Place]:
    """Connected, with one receiver."""
    clock = ManualClock(datetime.now(UTC))
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(notifying(metrics_variables, clock=clock, keys=key_file(tmp_path)))
        api = await stack.enter_async_context(started(bus_of(clean_bus, "api")))
        deployer = await stack.enter_async_context(started(bus_of(clean_bus, "deployer")))
        receiver = await stack.enter_async_context(receiving())
        client = RpcClient(api)
        yield Place(Owner(client), Owner(client, STRANGER), deployer, clock, metrics_database, receiver)


def completed(sequence: int = 9, **more: Any) -> Any:
    return job_event(JobCompleted, sequence, JobStatus.COMPLETED, **({"reason": REASON, "detail": "done"} | more))


async def test_an_event_reaches_its_owner_signed_and_nobody_else(place: Place) -> None:
    target = await place.owner.add(place.receiver.url)
    await place.owner.rule(target.target_id, "job.completed", project="p")
    await place.owner.rule(target.target_id, "job.completed", "job.failed")
    theirs = await place.stranger.add(place.receiver.url)
    await place.stranger.rule(theirs.target_id, "job.completed")
    secret = place.owner.secret
    last = completed(detail="line one\nline two of a log")
    await tell(place.deployer, queued(), job_event(TrainingStarted, 5, JobStatus.TRAINING), last)
    await place.settled("delivered")
    [request] = place.receiver.requests
    body = Webhook(secret.get_secret_value()).verify(request.body, request.headers)
    assert body["type"] == "job.completed"
    assert datetime.fromisoformat(body["timestamp"]) == last.occurred_at
    assert body["data"] == {
        "job_id": JOB,
        "project": "p",
        "attempt": 1,
        "status": "completed",
        "reason": REASON.value,
        "message": "line one",
        "spent_micro_usd": 1_250_000,
        "budget_micro_usd": 5_000_000,
        "links": {"job": f"https://stoker.example/v1/jobs/{JOB}"},
    }
    assert await place.stranger.log() == []


async def test_the_same_event_again_is_one_delivery_and_other_projects_are_not_told(place: Place) -> None:
    target = await place.owner.add(place.receiver.url)
    await place.owner.rule(target.target_id, "job.completed", project="other")
    await place.owner.rule(target.target_id, "job.failed")
    await place.owner.rule(target.target_id, "job.failed")
    event = job_event(JobFailed, 9, JobStatus.FAILED, reason=REASON)
    await tell(place.deployer, queued(), completed(8))
    for _ in range(3):
        await tell(place.deployer, event, again=True)
    after = job_event(JobFailed, 9, JobStatus.FAILED, reason=REASON, job_id="job-00000000000000bb")
    await tell(place.deployer, queued(job_id="job-00000000000000bb"), after)
    told = await place.settled("delivered", "delivered")
    assert [delivery.event_id for delivery in told] == [event.event_id, after.event_id]


async def test_events_that_overtake_the_first_one_wait_for_it(place: Place, clean_bus: RunningNats) -> None:
    target = await place.owner.add(place.receiver.url)
    await place.owner.rule(target.target_id, "job.completed")
    await tell(place.deployer, completed(), queued())
    await place.settled("delivered")
    assert not await stored(clean_bus, "DEAD")


async def test_a_failed_delivery_is_tried_again_by_the_schedule_under_the_same_id(place: Place) -> None:
    place.receiver.answers = [answer(500), answer(307, "Location: http://127.0.0.1:1/"), answer(200)]
    target = await place.owner.add(place.receiver.url)
    await place.owner.rule(target.target_id, "job.completed")
    await tell(place.deployer, queued(), completed())
    for tries, pause in enumerate((timedelta(seconds=6), timedelta(minutes=6)), start=1):

        async def noted(tries: int = tries) -> bool:
            return len((await place.owner.log())[0].attempts) == tries if await place.owner.log() else False

        await until(noted)
        place.clock.advance(pause)
    [delivery] = await place.settled("delivered")
    assert [attempt.status for attempt in delivery.attempts] == [500, 307, 200]
    assert {request.headers["webhook-id"] for request in place.receiver.requests} == {delivery.delivery_id}
    assert len({request.body for request in place.receiver.requests}) == 1
    stamps = [int(request.headers["webhook-timestamp"]) for request in place.receiver.requests]
    assert stamps[0] < stamps[1] < stamps[2]


async def test_gone_ends_a_target_and_its_owner_is_told_by_the_others(place: Place) -> None:
    async with receiving(answer(410)) as gone:
        leaving = await place.owner.add(gone.url, name="leaving")
        staying = await place.owner.add(place.receiver.url, name="staying")
        await place.owner.rule(leaving.target_id, "job.completed", "job.failed")
        await tell(place.deployer, queued(), completed())
        [told] = await place.received(1)
        assert (told["type"], told["data"]["name"]) == ("notification.target_paused", "leaving")
        states = {target.target_id: target.state for target in await place.owner.targets()}
        assert states == {leaving.target_id: "gone", staying.target_id: "active"}
        other = "job-00000000000000bb"
        await place.owner.rule(staying.target_id, "job.completed")
        await tell(place.deployer, queued(job_id=other), completed(job_id=other))
        await place.received(2)
    assert len(gone.requests) == 1


async def test_after_too_many_failures_a_target_is_paused_and_goes_on_when_its_owner_says_so(place: Place) -> None:
    place.receiver.answers = [answer(500)]
    target = await place.owner.add(place.receiver.url)
    await place.owner.rule(target.target_id, "job.completed")
    for number in range(6):
        job = f"job-{number:016x}"
        await tell(place.deployer, queued(job_id=job), completed(job_id=job))

    await place.settled(*["waiting"] * 6)
    seen = 0

    async def paused() -> bool:
        nonlocal seen
        tried = sum(len(delivery.attempts) for delivery in await place.owner.log())
        if tried > seen:
            # Not before an attempt is noted: the clock would run away from its lease.
            place.clock.advance(timedelta(hours=2))
            seen = tried
        return (await place.owner.targets())[0].state == "paused"

    await until(paused)
    assert "500" in (await place.owner.targets())[0].state_detail
    waiting = [delivery for delivery in await place.owner.log() if delivery.state == "waiting"]
    assert waiting
    place.receiver.answers = [answer(204)]
    state = rpc.SetTargetState(owner=OWNER, target_id=target.target_id, state="active")
    await place.owner.api.ask(rpc.SET_TARGET_STATE, state)
    place.clock.advance(timedelta(days=2))
    await place.settled(*["delivered"] * 6)


async def test_a_busy_receiver_is_left_alone_for_as_long_as_it_asks(place: Place) -> None:
    place.receiver.answers = [answer(429, "Retry-After: 7200"), answer(204)]
    target = await place.owner.add(place.receiver.url)
    await place.owner.rule(target.target_id, "job.completed", "job.landing")
    await tell(place.deployer, queued(), completed())

    async def noted() -> bool:
        found = await place.owner.log()
        return bool(found and found[0].attempts)

    await until(noted)
    other = "job-00000000000000bb"
    await tell(place.deployer, queued(job_id=other), completed(job_id=other))
    await place.settled("waiting", "waiting")
    place.clock.advance(timedelta(minutes=110))
    # A test goes at once: it is asked for by a person, and it is the proof that the sender is awake.
    await place.owner.api.ask(rpc.TEST_TARGET, rpc.TargetQuery(owner=OWNER, target_id=target.target_id))
    assert len(place.receiver.requests) == 2
    place.clock.advance(timedelta(minutes=11))
    await place.settled("delivered", "delivered", "delivered")


async def test_what_happened_long_ago_is_marked_and_sent_only_if_its_owner_wants_it(place: Place) -> None:
    target = await place.owner.add(place.receiver.url)
    await place.owner.rule(target.target_id, "job.completed")
    old = datetime.now(UTC) - timedelta(hours=2)
    fresh = "job-00000000000000bb"
    await tell(place.deployer, queued(occurred_at=old), completed(occurred_at=old))
    await tell(place.deployer, queued(job_id=fresh), completed(job_id=fresh))
    late, _ = await place.settled("late", "delivered")
    assert len(place.receiver.requests) == 1
    await place.owner.api.ask(rpc.REDELIVER, rpc.DeliveryQuery(owner=OWNER, delivery_id=late.delivery_id))
    await place.settled("delivered", "delivered")
    assert place.receiver.requests[1].headers["webhook-id"] == late.delivery_id


async def test_news_of_one_job_keep_their_order_while_the_first_fails(place: Place) -> None:
    place.receiver.answers = [answer(500), answer(204)]
    target = await place.owner.add(place.receiver.url)
    await place.owner.rule(target.target_id, "job.completed", "job.landing")
    landing = job_event(
        LandingStarted, 5, JobStatus.TRAINING, why="budget", deadline=datetime.now(UTC), detail="", spent_micro_usd=1
    )
    await tell(place.deployer, queued(), landing, completed())
    await place.settled("waiting", "waiting")
    await place.received(1)

    async def noted() -> bool:
        return len((await place.owner.log())[1].attempts) == 1

    await until(noted)
    place.clock.advance(timedelta(seconds=6))
    await place.settled("delivered", "delivered")
    assert [body["type"] for body in await place.received(3)] == ["job.landing", "job.landing", "job.completed"]


async def test_share_of_the_budget_and_a_long_wait_are_told_once_by_the_clock(place: Place) -> None:
    target = await place.owner.add(place.receiver.url)
    await place.owner.rule(target.target_id, "job.budget_share", budget_share=0.5)
    await place.owner.rule(target.target_id, "job.queued_long", queued_after_seconds=600)
    waits = "job-00000000000000bb"
    now = place.clock.now()
    training = job_event(
        TrainingStarted,
        5,
        JobStatus.TRAINING,
        spent_micro_usd=2_000_000,
        price_micro_usd_per_hour=1_000_000,
        billing_started_at=now,
        occurred_at=now,
    )
    await tell(place.deployer, queued(occurred_at=now), training, queued(job_id=waits, occurred_at=now))

    async def known() -> bool:
        return len(await place.rows("SELECT * FROM notification_jobs WHERE sequence IN (1, 5)")) == 2

    await until(known)
    place.clock.advance(timedelta(minutes=9))
    assert await place.owner.log() == []
    place.clock.advance(timedelta(minutes=2))
    [body] = await place.received(1)
    assert (body["type"], body["data"]["job_id"]) == ("job.queued_long", waits)
    place.clock.advance(timedelta(minutes=25))
    body = (await place.received(2))[1]
    assert (body["type"], body["data"]["job_id"]) == ("job.budget_share", JOB)
    assert body["data"]["spent_micro_usd"] >= 2_500_000
    await place.settled("delivered", "delivered")


async def test_loss_trouble_is_told(place: Place, clean_bus: RunningNats) -> None:
    target = await place.owner.add(place.receiver.url)
    await place.owner.rule(target.target_id, "job.loss_trouble")
    trouble = LossTroubled(
        event_id=uuid4(),
        occurred_at=datetime.now(UTC),
        sequence=1,
        job_id=JOB,
        attempt=1,
        kind="diverging",
        step=7,
        detail="The loss is 9.",
    )
    await tell(place.deployer, queued())
    async with started(bus_of(clean_bus, "metrics")) as metrics:
        await tell(metrics, trouble)
    await place.settled("delivered")
    [body] = await place.received(1)
    assert (body["data"]["reason"], body["data"]["message"]) == ("diverging", "The loss is 9.")


async def test_a_test_says_at_once_what_came_of_it(place: Place) -> None:
    async def tried(address: str) -> rpc.DeliveryFacts:
        target = await place.owner.add(address)
        return await place.owner.api.ask(rpc.TEST_TARGET, rpc.TargetQuery(owner=OWNER, target_id=target.target_id))

    good = await tried(place.receiver.url)
    assert (good.state, [attempt.status for attempt in good.attempts]) == ("delivered", [204])
    Webhook(place.owner.secret.get_secret_value()).verify(
        place.receiver.requests[0].body, place.receiver.requests[0].headers
    )
    bad = await tried("http://10.0.0.1/hook")
    assert (bad.state, bad.attempts[0].status) == ("failed", None)
    assert "webhooks are not sent to" in bad.attempts[0].error
    assert "10.0.0.1" not in bad.attempts[0].error


async def test_while_a_secret_is_rotated_both_sign_and_afterwards_the_new_one_alone(place: Place) -> None:
    target = await place.owner.add(place.receiver.url)
    old = place.owner.secret
    new = await place.owner.rotate(target.target_id, overlap=timedelta(hours=1))
    query = rpc.TargetQuery(owner=OWNER, target_id=target.target_id)
    await place.owner.api.ask(rpc.TEST_TARGET, query)
    for secret in (old, new):
        Webhook(secret.get_secret_value()).verify(place.receiver.requests[0].body, place.receiver.requests[0].headers)
    place.clock.advance(timedelta(hours=2))
    await place.owner.api.ask(rpc.TEST_TARGET, query)
    assert " " not in place.receiver.requests[1].headers["webhook-signature"]


async def test_nobody_sees_or_touches_what_is_not_theirs(place: Place) -> None:
    target = await place.owner.add(place.receiver.url, name="mine")
    rule = await place.owner.rule(target.target_id, "job.completed")
    query = rpc.TargetQuery(owner=OWNER, target_id=target.target_id)
    delivery = await place.owner.api.ask(rpc.TEST_TARGET, query)
    theirs = rpc.TargetQuery(owner=STRANGER, target_id=target.target_id)
    for question in (
        place.owner.api.ask(rpc.REMOVE_TARGET, theirs),
        place.owner.api.ask(rpc.TEST_TARGET, theirs),
        place.owner.api.ask(
            rpc.SET_TARGET_STATE, rpc.SetTargetState(owner=STRANGER, target_id=target.target_id, state="paused")
        ),
        place.stranger.rotate(target.target_id, overlap=timedelta()),
        place.stranger.rule(target.target_id, "job.completed"),
        place.owner.api.ask(rpc.REMOVE_RULE, rpc.RuleQuery(owner=STRANGER, rule_id=rule.rule_id)),
        place.owner.api.ask(rpc.REDELIVER, rpc.DeliveryQuery(owner=STRANGER, delivery_id=delivery.delivery_id)),
    ):
        with pytest.raises(RemoteRefusal) as refusal:
            await question
        assert refusal.value.remote_status == 404
    assert await place.stranger.targets() == []
    assert await place.stranger.log() == []
    with pytest.raises(RemoteRefusal, match="already"):
        await place.owner.add(place.receiver.url, name="mine")
    left = await place.owner.api.ask(rpc.REMOVE_TARGET, query)
    assert left.targets == []
    assert await place.rows("SELECT * FROM notification_rules") == []
    assert await place.rows("SELECT * FROM notification_deliveries") == []


async def test_no_secret_is_in_a_row_or_an_answer(place: Place) -> None:
    address = f"{place.receiver.url}/very-secret-path-0123456789"
    target = await place.owner.add(address)
    await place.owner.api.ask(rpc.TEST_TARGET, rpc.TargetQuery(owner=OWNER, target_id=target.target_id))
    told = f"{await place.owner.targets()} {await place.owner.log()}"
    for table in ("targets", "deliveries", "attempts", "rules"):
        told += str([tuple(row) for row in await place.rows(f"SELECT * FROM notification_{table}")])
    assert "very-secret-path" not in told
    assert place.owner.secret.get_secret_value() not in told
    assert (target.place, target.hint) == ("127.0.0.1", "6789")

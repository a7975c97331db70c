"""What is stored of what pods report, and what is told of it."""

import asyncio
import json
import random
from datetime import timedelta

import pytest

from stoker.stack.standalone import RunningNats
from stoker_shared import subjects
from stoker_shared.errors import RemoteRefusal
from stoker_shared.rpc.metrics import LINES, POINTS, LinesQuery, LogBatch, PointsQuery
from tests.support.bus import bus_of, started, stored, until
from tests.support.metrics import JOB, World, alert, ending, heartbeat, lines, points

OWNER = "user-0000000000000001"


async def pod_events(server: RunningNats) -> list[dict[str, object]]:
    return [json.loads(message.data or b"") for message in await stored(server, "EVENTS")]


async def test_a_batch_that_comes_twice_counts_once(world: World, token: str, clean_bus: RunningNats) -> None:
    for batch in (points(1, 2), points(1, 2), points(1, 2, 3), points(2, 3)):
        assert (await world.post("metrics", batch, token)).status_code == 202
    for batch in (lines(1, 2), lines(1, 2, 3)):
        assert (await world.post("logs", batch, token)).status_code == 202
    for _ in range(2):
        assert (await world.post("alerts", alert(1), token)).status_code == 202
    await world.until_rows("SELECT * FROM points", count=3)
    await world.until_rows("SELECT * FROM log_lines", count=3)
    await world.until_rows("SELECT * FROM alerts", count=1)


async def test_a_message_delivered_twice_by_the_broker_counts_once(
    world: World, token: str, clean_bus: RunningNats
) -> None:
    batch = LogBatch.model_validate({"job_id": JOB, **lines(1, 2)})
    async with started(bus_of(clean_bus, "metrics")) as bus:
        for number in range(3):  # beyond the window in which the broker itself knows the message
            await bus.publisher.publish(
                subjects.telemetry(JOB, "logs"), batch.model_dump_json().encode(), message_id=f"late-{number}"
            )
    await world.until_rows("SELECT * FROM log_lines", count=2)
    assert not await stored(clean_bus, "DEAD")


async def test_reports_in_any_order_lead_to_the_same_end(world: World, token: str) -> None:
    reports = [
        *(("metrics", points(n, loss=1 / n)) for n in range(1, 9)),
        ("heartbeat", heartbeat(1, "preparing")),
        *(("heartbeat", heartbeat(n, "training", step=n, total_steps=80, seconds_left=80 - n)) for n in range(2, 9)),
        ("heartbeat", heartbeat(9, "saving", step=80, total_steps=80, seconds_left=0.0)),
        ("logs", lines(3, 4)),
        ("logs", lines(1, 2)),
    ]
    random.Random(7).shuffle(reports)
    for kind, body in reports:
        assert (await world.post(kind, body, token)).status_code == 202
    await world.until_rows("SELECT * FROM points", count=8)
    await world.until_rows("SELECT * FROM attempt_reports WHERE heartbeat_sequence = 9 AND point_sequence = 8")
    report = await world.report()
    assert (report.phase, report.step, report.total_steps, report.seconds_left) == ("saving", 80, 80, 0.0)
    assert report.latest_values == {"loss": 1 / 8}
    page = await world.plane.api.ask(LINES, LinesQuery(owner=OWNER, job_id=JOB))
    assert [line.sequence for line in page.lines] == [1, 2, 3, 4]


async def test_late_reports_never_move_what_is_known_backwards(world: World, token: str) -> None:
    await world.post("heartbeat", heartbeat(5, "saving", step=50, total_steps=60, tokens_per_second=9.5), token)
    await world.post("metrics", points(5, loss=0.1, eval_loss=0.2), token)
    await world.until_rows("SELECT * FROM attempt_reports WHERE heartbeat_sequence = 5 AND point_sequence = 5")
    before = await world.report()
    await world.post("heartbeat", heartbeat(4, "training", step=40, total_steps=55, tokens_per_second=1.0), token)
    await world.post("metrics", points(4, loss=0.9, learning_rate=0.01), token)
    await world.until_rows("SELECT * FROM points", count=2)
    after = await until(lambda: _heard_after(world, before.last_heard_at))
    assert after.model_copy(update={"last_heard_at": None, "latest_values": {}}) == before.model_copy(
        update={"last_heard_at": None, "latest_values": {}}
    )
    assert after.latest_values == {"loss": 0.1, "eval_loss": 0.2, "learning_rate": 0.01}


async def _heard_after(world: World, moment: object) -> object:
    report = await world.report()
    return report if report.last_heard_at != moment else None


async def test_progress_is_when_the_step_rose(world: World, token: str) -> None:
    await world.post("heartbeat", heartbeat(1, step=10), token)
    await world.until_rows("SELECT * FROM attempt_reports WHERE step = 10")
    first = await world.report()
    world.clock.advance(timedelta(minutes=5))
    await world.post("heartbeat", heartbeat(2, step=10), token)
    await world.until_rows("SELECT * FROM attempt_reports WHERE heartbeat_sequence = 2")
    assert (await world.report()).last_progress_at == first.last_progress_at
    await world.post("heartbeat", heartbeat(3, step=11), token)
    await world.until_rows("SELECT * FROM attempt_reports WHERE heartbeat_sequence = 3")
    third = await world.report()
    assert third.last_progress_at is not None
    assert first.last_progress_at is not None
    assert third.last_progress_at - first.last_progress_at == timedelta(minutes=5)


async def test_phases_and_the_exit_are_told_once_and_in_order(world: World, token: str, clean_bus: RunningNats) -> None:
    for number, phase in enumerate(("preparing", "preparing", "training", "training", "saving"), start=1):
        await world.post("heartbeat", heartbeat(number, phase), token)
    await world.until_rows("SELECT * FROM attempt_reports WHERE heartbeat_sequence = 5")
    await world.post("exit", ending(), token)
    await world.post("exit", ending(sequence=2, exit_code=1, reason="trainer_error"), token)

    async def all_told() -> list[dict[str, object]] | None:
        found = await pod_events(clean_bus)
        return found if len(found) == 4 else None

    events = await until(all_told) or []
    assert [(event["type"], event.get("phase")) for event in events] == [
        ("phase_changed", "preparing"),
        ("phase_changed", "training"),
        ("phase_changed", "saving"),
        ("exited", None),
    ]
    assert [event["sequence"] for event in events] == [1, 2, 3, 4]
    assert (events[3]["exit_code"], events[3]["reason"]) == (0, "success")
    exit_facts = (await world.report()).exit
    assert exit_facts is not None
    assert (exit_facts.reason, exit_facts.last_lines, exit_facts.summary) == (
        "success",
        ["almost", "done"],
        {"train_loss": 0.5, "steps": 30.0},
    )


async def test_a_second_attempt_goes_on_counting_the_jobs_events(
    world: World, token: str, clean_bus: RunningNats
) -> None:
    await world.post("heartbeat", heartbeat(1, "preparing"), token)
    await world.until_rows("SELECT * FROM attempt_reports WHERE phase = 'preparing'")
    second = await world.plane.admit(attempt=2)
    await world.post("heartbeat", heartbeat(1, "preparing", attempt=2), second)

    async def both() -> list[tuple[object, object]] | None:
        found = [(event["attempt"], event["sequence"]) for event in await pod_events(clean_bus)]
        return found if len(found) == 2 else None

    assert await until(both) == [(1, 1), (2, 2)]


@pytest.mark.parametrize(
    ("losses", "kind"),
    [([1.0] * 5 + [9.0] * 20, "diverging"), ([1.0, None, None, None], "non_finite")],
)
async def test_a_loss_in_trouble_is_told_once_and_stands_in_the_report(
    world: World, token: str, clean_bus: RunningNats, losses: list[float | None], kind: str
) -> None:
    await world.post("heartbeat", heartbeat(1, "training"), token)
    for number, loss in enumerate(losses, start=1):
        for _ in range(2):
            await world.post("metrics", points(number, loss=loss), token)
        # One after the other: the loss is judged in the order in which points are stored.
        await world.until_rows(f"SELECT * FROM attempt_reports WHERE point_sequence = {number}")

    async def told() -> list[dict[str, object]] | None:
        found = [event for event in await pod_events(clean_bus) if event["type"] == "loss_troubled"]
        return found or None

    events = await until(told) or []
    assert [(event["kind"], event["attempt"]) for event in events] == [(kind, 1)]
    report = await world.report()
    assert report.loss_trouble is not None
    assert (report.loss_trouble.kind, report.loss_trouble.detail) == (kind, events[0]["detail"])
    assert report.phase_since is not None


async def test_what_json_does_not_have_is_stored_as_null(world: World, token: str) -> None:
    values = '{"loss": NaN, "grad_norm": Infinity, "kl": -Infinity, "huge": 1e999, "lr": 0.5, "none": null}'
    body = json.dumps(points(1, values="here")).replace('{"values": "here"}', values)
    answer = await world.http.post(
        f"/v1/jobs/{JOB}/metrics", content=body, headers={"Authorization": f"Bearer {token}"}
    )
    assert answer.status_code == 202
    await world.until_rows("SELECT * FROM points")
    page = await world.plane.api.ask(POINTS, PointsQuery(owner=OWNER, job_id=JOB))
    nothing = dict.fromkeys(("loss", "grad_norm", "kl", "huge", "none"))
    assert page.points[0].values == {**nothing, "lr": 0.5}


async def test_text_that_a_database_cannot_hold_is_stored_all_the_same(world: World, token: str) -> None:
    await world.post("logs", lines(1, text="nul \x00 bell \x07 escape \x1b[31m \ud7ff \U0001f525 'quote' \\ {}"), token)
    await world.post("alerts", alert(1, code="a\x00b", message="\x00"), token)
    await world.post("metrics", {**points(1, **{"na\x00me": 1.0})}, token)
    await world.post("exit", ending(message="\x00", last_lines=["\x00"], reason="x\x00"), token)
    await world.until_rows("SELECT * FROM attempt_reports WHERE exit_facts IS NOT NULL AND point_sequence = 1")
    await world.until_rows("SELECT * FROM alerts")
    (row,) = await world.until_rows("SELECT text FROM log_lines")
    assert row["text"] == "nul \ufffd bell \x07 escape \x1b[31m \ud7ff \U0001f525 'quote' \\ {}"


async def test_text_that_is_too_long_is_cut_with_a_mark(world: World, token: str) -> None:
    await world.post("logs", lines(1, text="x" * 9000), token)
    (row,) = await world.until_rows("SELECT text FROM log_lines")
    assert row["text"] == "x" * 8000 + " [cut: 1000 more characters]"


async def test_a_message_of_an_attempt_never_admitted_is_a_dead_letter_and_takes_no_other_with_it(
    world: World, token: str, clean_bus: RunningNats
) -> None:
    stranger = LogBatch.model_validate({"job_id": "job-00000000000000ff", **lines(1)})
    async with started(bus_of(clean_bus, "metrics")) as bus:
        await asyncio.gather(
            *(world.post("logs", lines(number), token) for number in range(1, 20)),
            bus.publisher.publish("tel.job-00000000000000ff.logs", stranger.model_dump_json().encode(), message_id="x"),
        )
    await world.until_rows("SELECT * FROM log_lines", count=19)
    (dead,) = await until(lambda: stored(clean_bus, "DEAD"))
    assert "never admitted" in (dead.headers or {})["Stoker-Dead-Reason"]


async def test_pages_of_lines_fit_into_an_answer_and_lead_to_the_end(world: World, token: str) -> None:
    for first in range(1, 201, 50):
        body = lines(*range(first, first + 50), text="\x1b" * 1500)  # sixfold in JSON
        assert (await world.post("logs", body, token)).status_code == 202
    await world.until_rows("SELECT * FROM log_lines", count=200)
    seen: list[int] = []
    while True:
        query = LinesQuery(owner=OWNER, job_id=JOB, after_sequence=seen[-1] if seen else 0, limit=10_000)
        page = await world.plane.api.ask(LINES, query)
        if not page.lines:
            break
        seen += [line.sequence for line in page.lines]
    assert seen == list(range(1, 201))


async def test_points_of_the_latest_attempt_or_of_the_one_asked_for(world: World, token: str) -> None:
    empty = await world.plane.api.ask(POINTS, PointsQuery(owner=OWNER, job_id=JOB))
    assert (empty.attempt, empty.points) == (0, [])
    await world.post("metrics", points(1, 2, 3), token)
    second = await world.plane.admit(attempt=2)
    await world.post("metrics", points(1, attempt=2), second)
    await world.until_rows("SELECT * FROM points", count=4)
    latest = await world.plane.api.ask(POINTS, PointsQuery(owner=OWNER, job_id=JOB))
    assert (latest.attempt, [point.sequence for point in latest.points]) == (2, [1])
    first = await world.plane.api.ask(
        POINTS, PointsQuery(owner=OWNER, job_id=JOB, attempt=1, after_sequence=1, limit=1)
    )
    assert (first.attempt, [(point.sequence, point.step) for point in first.points]) == (1, [(2, 20)])


async def test_another_user_sees_neither_points_nor_lines(world: World, token: str) -> None:
    await world.post("metrics", points(1), token)
    await world.until_rows("SELECT * FROM points")
    with pytest.raises(RemoteRefusal) as points_refused:
        await world.plane.api.ask(POINTS, PointsQuery(owner="user-0000000000000002", job_id=JOB))
    with pytest.raises(RemoteRefusal) as lines_refused:
        await world.plane.api.ask(LINES, LinesQuery(owner="user-0000000000000002", job_id=JOB))
    assert (points_refused.value.remote_status, lines_refused.value.remote_status) == (404, 404)

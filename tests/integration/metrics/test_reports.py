"""What a pod is answered."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from stoker.stack.standalone import RunningNats
from stoker_shared.clock import SystemClock
from stoker_shared.errors import RemoteRefusal
from stoker_shared.figures import HTTP_REQUESTS
from stoker_shared.rpc.metrics import ORDER, Control, OrderAttempt
from stoker_shared.tokens import mint_token
from tests.support.bus import stored
from tests.support.metrics import (
    JOB,
    World,
    alert,
    bearer,
    control_plane,
    ending,
    heartbeat,
    lines,
    metrics_service,
    points,
)

OTHER_JOB = "job-00000000000000bb"
REPORTS: list[tuple[str, dict[str, Any], int]] = [
    ("metrics", points(1, 2, 3), 3),
    ("logs", lines(1, 2), 2),
    ("heartbeat", heartbeat(1), 1),
    ("alerts", alert(1), 1),
    ("exit", ending(), 1),
]


@pytest.mark.parametrize(("kind", "body", "count"), REPORTS, ids=[kind for kind, _, _ in REPORTS])
async def test_a_report_is_on_the_brokers_disk_when_202_is_answered(
    world: World, token: str, clean_bus: RunningNats, kind: str, body: dict[str, Any], count: int
) -> None:
    answer = await world.post(kind, body, token)
    assert answer.status_code == 202
    assert answer.json() == {
        "accepted": count,
        "control": {"action": "continue", "reason": None, "deadline": None},
    }
    (message,) = await stored(clean_bus, "TELEMETRY")
    assert message.subject == f"tel.{JOB}.{kind.removesuffix('s') if kind == 'alerts' else kind}"


async def test_the_same_batch_again_is_the_same_message(world: World, token: str, clean_bus: RunningNats) -> None:
    for _ in range(3):
        assert (await world.post("metrics", points(1, 2), token)).status_code == 202
        world.clock.advance(timedelta(seconds=1))
        assert (await world.post("heartbeat", heartbeat(1), token)).status_code == 202
    assert (await world.post("metrics", points(1, 2, 3), token)).status_code == 202
    assert len(await stored(clean_bus, "TELEMETRY")) == 3


@pytest.mark.parametrize("kind", ["metrics", "logs", "heartbeat", "alerts", "exit"])
async def test_without_a_token_nothing_is_read(world: World, kind: str) -> None:
    answer = await world.http.post(f"/v1/jobs/{JOB}/{kind}", content=b"not even json")
    assert answer.status_code == 401
    assert answer.json()["code"] == "unauthorised"


@pytest.mark.parametrize("header", ["Basic abc", "Bearer ", "Bearer short", "Bearer " + "x" * 43, "bearer"])
async def test_a_token_that_is_none_of_ours_is_refused(world: World, token: str, header: str) -> None:
    answer = await world.http.post(f"/v1/jobs/{JOB}/heartbeat", json=heartbeat(1), headers={"Authorization": header})
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == "Bearer"


async def test_a_token_opens_its_own_job_and_attempt_only(world: World, token: str) -> None:
    await world.plane.admit(job_id=OTHER_JOB)
    second = await world.plane.admit(attempt=2)
    assert (await world.post("metrics", points(1), token, job_id=OTHER_JOB)).status_code == 401
    assert (await world.post("metrics", points(1, attempt=2), token)).status_code == 401
    assert (await world.post("metrics", points(1, attempt=1), second)).status_code == 401
    assert (await world.post("metrics", points(1, attempt=2), second)).status_code == 202
    assert (await world.post("metrics", points(1), mint_token().get_secret_value())).status_code == 401


async def test_a_path_that_tries_to_leave_its_subject_is_refused(
    world: World, token: str, clean_bus: RunningNats
) -> None:
    for job_id in ("*", ">", "a.b", "..%2F..", f"{JOB}%0A", f"{JOB}.metrics"):
        answer = await world.http.post(f"/v1/jobs/{job_id}/heartbeat", json=heartbeat(1), headers=bearer(token))
        assert answer.status_code in {401, 404}, job_id
    assert not await stored(clean_bus, "TELEMETRY")


async def test_an_expired_token_is_refused_even_while_it_is_remembered(world: World) -> None:
    soon = world.clock.now() + timedelta(seconds=1)
    token = await world.plane.admit(expires_at=soon)
    assert (await world.post("heartbeat", heartbeat(1), token)).status_code == 202
    world.clock.advance(timedelta(seconds=1))
    answer = await world.post("heartbeat", heartbeat(2), token)
    assert answer.status_code == 401
    assert answer.json()["code"] == "job_token_refused"


async def test_a_revoked_token_is_refused_at_once(world: World, token: str) -> None:
    other = await world.plane.admit()
    assert (await world.post("heartbeat", heartbeat(1), token)).status_code == 202
    await world.plane.revoke()
    for each in (token, other):
        assert (await world.post("heartbeat", heartbeat(2), each)).status_code == 401


async def test_several_tokens_of_an_attempt_are_good(world: World, token: str) -> None:
    other = await world.plane.admit()
    for number, each in enumerate((token, other), start=1):
        assert (await world.post("heartbeat", heartbeat(number), each)).status_code == 202


async def test_a_body_beyond_the_limit_is_413(world: World, token: str, clean_bus: RunningNats) -> None:
    answer = await world.post("logs", lines(*range(1, 100), text="x" * 6000), token)
    assert answer.status_code == 413
    assert answer.json()["next_step"] == "Send half of the batch."

    async def endless() -> Any:
        for _ in range(100):
            yield b"x" * 10_000

    streamed = await world.http.post(f"/v1/jobs/{JOB}/logs", content=endless(), headers=bearer(token))
    assert streamed.status_code == 413
    assert not await stored(clean_bus, "TELEMETRY")


async def test_too_many_items_are_413_so_that_the_trainer_halves_the_batch(world: World, token: str) -> None:
    answer = await world.post("metrics", points(*range(1, 1002), loss=1), token)
    assert answer.status_code == 413
    assert answer.json()["errors"] == [{"field": "points", "message": "at most 1000 items"}]
    assert (await world.post("metrics", points(*range(1, 1001), loss=1), token)).status_code == 202


async def test_a_field_that_is_wrong_is_named_without_its_value(world: World, token: str) -> None:
    answer = await world.post("metrics", points(1, loss="my secret"), token)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert [fault["field"] for fault in answer.json()["errors"]] == ["points.0.values.loss"]
    assert "my secret" not in answer.text
    for body in (b"", b"{", b"\xff", b"null", b'{"attempt": 1, "points": [{]}', b"[" * 100_000):
        answer = await world.http.post(f"/v1/jobs/{JOB}/metrics", content=body, headers=bearer(token))
        assert answer.status_code == 422
        assert [fault["field"] for fault in answer.json()["errors"]] == ["body"]


async def test_more_reports_at_once_than_the_limit_are_429(
    metrics_variables: dict[str, str], clean_bus: RunningNats
) -> None:
    variables = metrics_variables | {"STOKER_METRICS_MAX_REPORTS_IN_FLIGHT": "1"}
    reading, may_end = asyncio.Event(), asyncio.Event()

    async def slow_body() -> AsyncIterator[bytes]:
        yield b'{"attempt": 1, "sequence": 1, '
        reading.set()
        await may_end.wait()
        yield b'"at": "2026-11-22T10:00:00Z", "phase": "training"}'

    async with metrics_service(variables, clock=SystemClock()) as http, control_plane(clean_bus) as plane:
        headers = bearer(await plane.admit())
        slow = asyncio.create_task(http.post(f"/v1/jobs/{JOB}/heartbeat", content=slow_body(), headers=headers))
        await asyncio.wait_for(reading.wait(), 10)
        refused = await http.post(f"/v1/jobs/{JOB}/heartbeat", json=heartbeat(2), headers=headers)
        may_end.set()
        assert (await slow).status_code == 202
        again = await http.post(f"/v1/jobs/{JOB}/heartbeat", json=heartbeat(2), headers=headers)
    assert (refused.status_code, refused.headers["Retry-After"]) == (429, "2")
    assert again.status_code == 202


async def test_an_order_of_the_deployer_is_in_the_very_next_answer(world: World, token: str) -> None:
    assert (await world.post("heartbeat", heartbeat(1), token)).json()["control"]["action"] == "continue"
    deadline = world.clock.now()
    control = Control(action="land", reason="budget", deadline=deadline)
    for _ in range(2):  # the same order again changes nothing
        await world.plane.deployer.ask(ORDER, OrderAttempt(job_id=JOB, attempt=1, control=control))
    answered = (await world.post("heartbeat", heartbeat(2), token)).json()["control"]
    assert Control.model_validate(answered) == control
    with pytest.raises(RemoteRefusal):
        await world.plane.deployer.ask(ORDER, OrderAttempt(job_id=JOB, attempt=9, control=control))


async def test_what_landing_takes_is_in_the_report(world: World, token: str) -> None:
    await world.post("heartbeat", heartbeat(1) | {"landing_seconds": 12.5}, token)
    await world.until_rows("SELECT 1 FROM attempt_reports WHERE landing_seconds = 12.5")
    assert (await world.report()).landing_seconds == 12.5


async def test_what_is_no_report_is_answered_by_the_application(world: World, token: str) -> None:
    for method, path, status in (
        ("GET", f"/v1/jobs/{JOB}/metrics", 405),
        ("POST", f"/v1/jobs/{JOB}/nonsense", 404),
        ("POST", "/v1/jobs//metrics", 404),
        ("POST", f"/v2/jobs/{JOB}/metrics", 404),
        ("POST", f"/v1/jobs/{JOB}/metrics/more", 404),
    ):
        answer = await world.http.request(method, path, json=points(1), headers=bearer(token))
        assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json"), path


async def test_a_report_has_a_trace_id_and_is_counted_by_its_route(world: World, token: str) -> None:
    labels = ("POST", "/v1/jobs/{job_id}/alerts")
    before = HTTP_REQUESTS.labels(*labels, "202")._value.get()
    taken = await world.post("alerts", alert(1), token)
    refused = await world.post("alerts", {"attempt": 1}, token)
    assert len(taken.headers["x-trace-id"]) == 32
    assert refused.json()["trace_id"] == refused.headers["x-trace-id"]
    assert HTTP_REQUESTS.labels(*labels, "202")._value.get() == before + 1
    assert HTTP_REQUESTS.labels(*labels, "422")._value.get() >= 1

"""Job views follow the deployer's events, whatever their order and number."""

import random
from datetime import timedelta
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from stoker.stack.standalone import RunningNats
from stoker_api.jobs.subscribers import JobReadModel
from stoker_shared.clock import ManualClock
from stoker_shared.database import Database
from stoker_shared.rpc.dataset_gateway import DeleteArtifact
from stoker_shared.rpc.deployer import QueuePlace, QueueQuery
from tests.integration.api.conftest import Api, User
from tests.integration.api.events import a_bill, a_failure, a_life, a_requeue
from tests.integration.api.peers import ARTIFACT_ID, Peers, an_artifact
from tests.support.bus import stored, until
from tests.support.servers import TestDatabase
from tests.unit.api.examples import NOW


async def job_at(user: User, job_id: str, *, sequence: int) -> dict[str, Any]:
    async def reached() -> dict[str, Any]:
        job: dict[str, Any] = (await user.http.get(f"/v1/jobs/{job_id}")).json()
        return job if job["sequence"] >= sequence else {}

    return await until(reached, what=f"sequence {sequence}")


@pytest.fixture
async def read_model(api_database: TestDatabase, clock: ManualClock) -> Any:
    """The consumer's handler without the bus, to hand it events in a chosen order."""
    database = Database(SecretStr(api_database.url("api")), pool_size=4)
    yield JobReadModel(database, clock=clock)
    await database.close()


async def test_the_view_follows_the_events(user: User, peers: Peers) -> None:
    job_id = await user.job()
    for event in a_life(job_id):
        await peers.tell(event)
    job = await job_at(user, job_id, sequence=8)
    assert (job["status"], job["is_over"], job["reason"], job["attempt"]) == ("completed", True, "success", 1)
    assert (job["spent_micro_usd"], job["cost_micro_usd_now"], job["billing_started_at"]) == (9000, 9000, None)
    assert job["message"]
    assert job["advice"]
    assert job["progress"] is None


async def test_a_bill_stands_beside_what_was_estimated(user: User, peers: Peers) -> None:
    job_id = await user.job()
    for event in a_life(job_id):
        await peers.tell(event)
    assert (await job_at(user, job_id, sequence=8))["bills"] == []
    await peers.tell(a_bill(job_id, 9, of_attempt=1, estimated=9000, billed=8500))
    job = await job_at(user, job_id, sequence=9)
    assert job["bills"] == [{"attempt": 1, "estimated_micro_usd": 9000, "billed_micro_usd": 8500}]
    assert (job["status"], job["spent_micro_usd"]) == ("completed", 8500)


async def test_a_running_machine_costs_more_by_the_second(user: User, peers: Peers, clock: ManualClock) -> None:
    job_id = await user.job()
    for event in a_life(job_id)[:5]:
        await peers.tell(event)
    clock.advance(timedelta(seconds=10))
    job = await job_at(user, job_id, sequence=5)
    assert (job["spent_micro_usd"], job["cost_micro_usd_now"]) == (0, 10_000)
    clock.advance(timedelta(seconds=5))
    assert (await user.http.get(f"/v1/jobs/{job_id}")).json()["cost_micro_usd_now"] == 15_000


async def test_an_active_job_shows_its_progress_or_that_nobody_can_tell(user: User, peers: Peers) -> None:
    job_id = await user.job()
    for event in a_life(job_id)[:5]:
        await peers.tell(event)
    progress = (await job_at(user, job_id, sequence=5))["progress"]
    assert (progress["is_available"], progress["step"], progress["total_steps"]) == (True, 3, 10)
    assert progress["latest_values"] == {"loss": 1.5}
    await peers.stop("metrics")
    response = await user.http.get(f"/v1/jobs/{job_id}")
    assert response.status_code == 200
    assert response.json()["progress"]["is_available"] is False
    assert "metrics" in response.json()["progress"]["detail"]


async def test_a_job_that_waits_shows_its_place_and_what_it_waits_for(user: User, peers: Peers) -> None:
    waiting, beginning = await user.job(), await user.job()
    peers.queue.append(QueuePlace(job_id=waiting, position=3, ahead=2, reason="user limit 2"))
    place = {"position": 3, "ahead": 2, "reason": "user limit 2"}
    assert (await user.http.get(f"/v1/jobs/{waiting}")).json()["queue"] == place
    listed = {job["job_id"]: job["queue"] for job in (await user.http.get("/v1/jobs")).json()["jobs"]}
    assert listed == {waiting: place, beginning: None}
    assert {asked.owner for asked in peers.asked if isinstance(asked, QueueQuery)} == {user.user_id}


async def test_while_the_deployer_is_away_a_job_is_shown_without_its_place(user: User, peers: Peers) -> None:
    job_id = await user.job()
    await peers.stop("deployer")
    answer = await user.http.get(f"/v1/jobs/{job_id}")
    assert (answer.status_code, answer.json()["queue"]) == (200, None)


async def test_a_failure_says_why_and_what_to_do(user: User, peers: Peers) -> None:
    job_id = await user.job()
    await peers.tell(a_failure(job_id, 9))
    job = await job_at(user, job_id, sequence=9)
    assert (job["status"], job["reason"], job["detail"]) == ("failed", "out_of_memory", "12 GB were asked for")
    assert job["message"] == "The machine ran out of memory."
    assert "smaller batch" in job["advice"]


async def test_events_in_any_order_and_number_lead_to_the_same_view(
    user: User, peers: Peers, read_model: JobReadModel
) -> None:
    reference = await user.job()
    for event in a_life(reference):
        await read_model.record(event)
    expected = comparable((await user.http.get(f"/v1/jobs/{reference}")).json())
    for seed in range(6):
        job_id = await user.job()
        events = a_life(job_id) * 2
        random.Random(seed).shuffle(events)
        for event in events:
            await read_model.record(event)
        assert comparable((await user.http.get(f"/v1/jobs/{job_id}")).json()) == expected


def comparable(job: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in job.items() if name not in {"job_id", "plan_id"}}


async def test_a_stale_event_does_not_take_the_view_back(user: User, read_model: JobReadModel) -> None:
    job_id = await user.job()
    life = a_life(job_id)
    await read_model.record(life[4])
    await read_model.record(life[2])
    assert (await user.http.get(f"/v1/jobs/{job_id}")).json()["status"] == "training"
    await read_model.record(life[1])
    assert (await user.http.get(f"/v1/jobs/{job_id}")).json()["sequence"] == 5


async def test_a_lost_attempt_shows_its_reason_until_the_next_begins(user: User, read_model: JobReadModel) -> None:
    job_id = await user.job()
    life = a_life(job_id)
    for event in (*life[:5], a_requeue(job_id, 6)):
        await read_model.record(event)
    job = (await user.http.get(f"/v1/jobs/{job_id}")).json()
    assert (job["status"], job["reason"]) == ("queued", "machine_lost")
    await read_model.record(life[1].model_copy(update={"sequence": 7, "attempt": 2}))
    job = (await user.http.get(f"/v1/jobs/{job_id}")).json()
    assert (job["attempt"], job["reason"], job["message"]) == (2, None, "")


async def test_events_of_an_unknown_job_are_kept_in_a_view_that_nobody_sees(
    user: User, read_model: JobReadModel, api_database: TestDatabase
) -> None:
    job_id = "job-00000000000000dd"
    for event in a_life(job_id):
        await read_model.record(event)
    assert (await user.http.get(f"/v1/jobs/{job_id}")).status_code == 404
    engine = create_async_engine(api_database.url("api"))
    async with engine.connect() as connection:
        rows = await connection.execute(text("SELECT status, owner FROM job_views WHERE job_id = :id"), {"id": job_id})
        assert list(rows) == [("completed", None)]
    await engine.dispose()


async def test_jobs_are_listed_newest_first_page_by_page(user: User, clock: ManualClock, stranger: User) -> None:
    made = []
    for _ in range(5):
        made.append(await user.job())
        clock.advance(timedelta(seconds=1))
    first = (await user.http.get("/v1/jobs", params={"limit": 3})).json()["jobs"]
    rest = (await user.http.get("/v1/jobs", params={"limit": 3, "before": first[-1]["job_id"]})).json()["jobs"]
    assert [job["job_id"] for job in first + rest] == made[::-1]
    assert (await user.http.get("/v1/jobs", params={"status": "failed"})).json() == {"jobs": []}
    assert (await stranger.http.get("/v1/jobs")).json() == {"jobs": []}


async def test_a_cancel_is_sent_once_and_answers_the_same_each_time(user: User, clean_bus: RunningNats) -> None:
    job_id = await user.job()
    answers = [await user.http.post(f"/v1/jobs/{job_id}/cancel") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [202, 202, 202]
    assert answers[0].json() == answers[2].json()
    assert answers[0].json()["cancel_requested_at"] == NOW.isoformat().replace("+00:00", "Z")

    async def sent() -> list[str]:
        return [str(message.subject) for message in await stored(clean_bus, "COMMANDS")]

    subjects = await until(lambda: _when_two(sent))
    assert subjects == [f"cmd.deployer.{job_id}.launch", f"cmd.deployer.{job_id}.cancel"]


async def _when_two(sent: Any) -> list[str]:
    found: list[str] = await sent()
    return found if len(found) >= 2 else []


async def test_a_cancel_that_came_to_nothing_can_be_sent_again(
    user: User, clean_bus: RunningNats, clock: ManualClock
) -> None:
    job_id = await user.job()
    await user.http.post(f"/v1/jobs/{job_id}/cancel")
    clock.advance(timedelta(minutes=1))
    await user.http.post(f"/v1/jobs/{job_id}/cancel")

    async def three() -> bool:
        return len(await stored(clean_bus, "COMMANDS")) == 3

    await until(three)


async def test_a_job_that_is_over_cannot_be_cancelled(user: User, read_model: JobReadModel) -> None:
    job_id = await user.job()
    await read_model.record(a_failure(job_id, 9))
    response = await user.http.post(f"/v1/jobs/{job_id}/cancel")
    assert (response.status_code, response.json()["code"]) == (409, "job_is_over")


@pytest.mark.parametrize("what", ["", "/events", "/metrics", "/logs", "/machine-logs", "/artifacts"])
async def test_jobs_of_others_do_not_exist(user: User, stranger: User, what: str) -> None:
    job_id = await user.job()
    assert (await stranger.http.get(f"/v1/jobs/{job_id}{what}")).status_code == 404
    assert (await stranger.http.post(f"/v1/jobs/{job_id}/cancel")).status_code == 404
    assert (await stranger.http.delete(f"/v1/training/deploy/local/{job_id}")).status_code == 404


async def test_reports_and_artifacts_come_from_their_owners(user: User, peers: Peers, api: Api) -> None:
    job_id = await user.job()
    peers.artifacts = [an_artifact(job_id)]
    place = f"/v1/jobs/{job_id}"
    assert (await user.http.get(f"{place}/metrics", params={"after": 6})).json()["points"][0]["sequence"] == 7
    assert peers.asked[-1].model_dump()["owner"] == user.user_id
    assert (await user.http.get(f"{place}/logs")).json()["lines"][0]["text"] == "hello"
    assert (await user.http.get(f"{place}/machine-logs", params={"offset": 5})).json()["next_offset"] == 15
    assert (await user.http.get(f"{place}/artifacts")).json()["artifacts"][0]["artifact_id"] == ARTIFACT_ID
    opened = (await user.http.post(f"/v1/artifacts/{ARTIFACT_ID}/download")).json()
    assert opened["download_url"].startswith("http")
    assert opened["artifact"]["name"] == "model.tar"
    assert (await user.http.post("/v1/artifacts/art-0000000000000001/download")).status_code == 404
    assert (await user.http.delete(f"/v1/artifacts/{ARTIFACT_ID}")).status_code == 200
    asked = [question for question in peers.asked if isinstance(question, DeleteArtifact)]
    assert [question.owner for question in asked] == [user.user_id]
    assert (await user.http.delete(f"/v1/artifacts/{ARTIFACT_ID}")).status_code == 404

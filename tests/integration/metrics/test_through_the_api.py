"""What a pod reports, as a user gets it: through the api, the bus and the metrics service, packed lines included."""

from collections.abc import AsyncIterator
from datetime import timedelta

import asyncpg
import httpx
import pytest
from pydantic import SecretStr

import stoker_api
from stoker.stack.standalone import RunningNats
from stoker_api.main import create_api
from stoker_api.settings import ApiSettings
from stoker_metrics.packing.service import Packer
from stoker_shared.clock import ManualClock
from stoker_shared.database import Database
from stoker_shared.rpc.alerts import Alerts
from stoker_shared.rpc.log_search import LogMatches
from stoker_shared.rpc.series import Chart, Latest
from tests.support.metrics import JOB, World, alert, lines, points
from tests.support.servers import MakeDatabase, TestBucket, TestDatabase
from tests.support.storing import store_of, store_variables

_SHOW = """
INSERT INTO job_views (job_id, owner, name, status, sequence, attempt, machine_sequence, spent_micro_usd,
                       price_micro_usd_per_hour, detail, created_at, updated_at)
VALUES ($1, $2, 'a run', 'training', 1, 1, 0, 0, 0, '', now(), now())
"""
OTHER_JOB = "job-00000000000000bb"


@pytest.fixture
def metrics_variables(metrics_variables: dict[str, str], object_store: TestBucket) -> dict[str, str]:
    """With a store, and a cap of lines; nothing is packed but by the test."""
    return metrics_variables | store_variables(object_store) | {"STOKER_METRICS_MAX_LOG_LINES_PER_JOB": "1500"}


@pytest.fixture
def api_database(migrated_database: MakeDatabase) -> TestDatabase:
    """A database with the api's tables."""
    return migrated_database("api", stoker_api.MIGRATIONS)


@pytest.fixture
async def user(world: World, clean_bus: RunningNats, api_database: TestDatabase) -> AsyncIterator[httpx.AsyncClient]:
    """Somebody with two jobs, at the api."""
    settings = ApiSettings(
        nats_url=clean_bus.url,
        nats_seed_file=clean_bus.seed_files["api"],
        database_url=SecretStr(api_database.url("api")),
        port=20_002,
        public_url="http://127.0.0.1:20002",
    )
    application = create_api(settings, clock=world.clock)
    async with application.router.lifespan_context(application):
        user_id, key = await application.state.parts.accounts.create_user("ada")
        await _show(api_database, user_id)
        for job_id in (JOB, OTHER_JOB):
            world_token = await world.plane.admit(job_id=job_id, owner=user_id)
            await _report(world, job_id, world_token)
        headers = {"Authorization": f"Bearer {key.get_secret_value()}"}
        transport = httpx.ASGITransport(application)
        async with httpx.AsyncClient(transport=transport, base_url="http://api", headers=headers) as client:
            yield client


async def _show(database: TestDatabase, owner: str) -> None:
    connection = await asyncpg.connect(database.url("api", driver="postgresql"))
    for job_id in (JOB, OTHER_JOB):
        await connection.execute(_SHOW, job_id, owner)
    await connection.close()


async def _report(world: World, job_id: str, token: str) -> None:
    for first in range(1, 2_001, 1_000):
        sequences = range(first, first + 1_000)
        assert (await world.post("metrics", points(*sequences), token, job_id=job_id)).status_code == 202
        assert (await world.post("logs", lines(*sequences), token, job_id=job_id)).status_code == 202
    done = "SELECT 1 FROM kept_attempts WHERE job_id = $1 AND points_stored = 2000 AND lines_seen = 2000"
    await world.until_rows(done, job_id)


async def test_charts_of_one_job_and_of_several(user: httpx.AsyncClient) -> None:
    whole = await user.get(f"/v1/jobs/{JOB}/chart")
    assert (whole.status_code, whole.headers.get("content-encoding")) == (200, "gzip")
    assert Chart.model_validate_json(whole.content).runs[0].width == 16
    answer = await user.get(f"/v1/jobs/{JOB}/chart", params={"most_points": 100})
    (run,) = Chart.model_validate_json(answer.content).runs
    assert (run.width, run.points, run.metrics, run.series[0].last_steps[-1]) == (64, 2_000, ["loss"], 20_000)
    assert run.series[0].maximums[0] == 1.0
    both = await user.get("/v1/charts", params={"job_id": [OTHER_JOB, JOB], "metric": "loss", "last_step": 50})
    assert [
        (run.job_id, run.width, run.series[0].last_steps) for run in Chart.model_validate_json(both.content).runs
    ] == [
        (OTHER_JOB, 1, [10, 20, 30, 40, 50]),
        (JOB, 1, [10, 20, 30, 40, 50]),
    ]
    latest = Latest.model_validate_json((await user.get("/v1/charts/latest", params={"job_id": JOB})).content)
    assert [(run.job_id, run.step, run.values) for run in latest.runs] == [(JOB, 20_000, {"loss": 1 / 2_000})]
    some = await user.get(f"/v1/jobs/{JOB}/metrics", params={"first_step": 100, "last_step": 120})
    assert [point["step"] for point in some.json()["points"]] == [100, 110, 120]
    for path in ("/v1/charts", "/v1/charts/latest"):
        assert (await user.get(path, params={"job_id": "job-00000000000000ff"})).status_code == 404
        assert (await user.get(path, params={"job_id": "no id"})).status_code == 404
        assert (await user.get(path)).status_code == 422


@pytest.mark.parametrize("where", ["rows", "chunks"])
async def test_the_log_is_searched_and_downloaded_whole(
    user: httpx.AsyncClient, world: World, object_store: TestBucket, where: str
) -> None:
    if where == "chunks":
        await world.plane.revoke()
        database = Database(SecretStr(world.database.url("metrics")))
        packer = Packer(database, store_of(object_store), clock=ManualClock(world.clock.now()), pack_after=timedelta(1))
        assert await packer.sweep() == 1
        await database.close()
    answer = await user.get(f"/v1/jobs/{JOB}/logs/download")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/plain; charset=utf-8")
    *text, note = answer.text.splitlines()
    assert text == [f"line {number}" for number in range(1, 1_501)]
    assert note == "[capped after line 1,500, the most lines that are kept of a job: 500 lines not kept]"
    tail = await user.get(f"/v1/jobs/{JOB}/logs", params={"tail": 2})
    assert [line["text"] for line in tail.json()["lines"]] == ["line 1499", "line 1500"]
    found = await user.get(f"/v1/jobs/{JOB}/logs/search", params={"q": "LINE 149[01]", "expression": True})
    matches = LogMatches.model_validate_json(found.content)
    assert [(match.line.text, match.spans) for match in matches.matches] == [
        ("line 1490", [(0, 9)]),
        ("line 1491", [(0, 9)]),
    ]
    assert matches.is_end
    wrong = await user.get(f"/v1/jobs/{JOB}/logs/search", params={"q": "(", "expression": True})
    assert (wrong.status_code, "cannot be searched for" in wrong.text) == (422, True)


async def test_alerts_are_read_page_by_page(user: httpx.AsyncClient, world: World) -> None:
    owner = (await world.rows("SELECT owner FROM attempt_reports WHERE job_id = $1", JOB))[0]["owner"]
    token = await world.plane.admit(owner=owner)
    for number in (1, 2, 3):
        said = alert(number, level="error" if number == 3 else "warning", code=f"code_{number}")
        assert (await world.post("alerts", said, token)).status_code == 202
    await world.until_rows("SELECT * FROM alerts", count=3)
    path = f"/v1/jobs/{JOB}/alerts"
    first = Alerts.model_validate_json((await user.get(path, params={"limit": 2})).content)
    assert [(found.level, found.code) for found in first.alerts] == [("warning", "code_1"), ("warning", "code_2")]
    place = {"after_attempt": first.alerts[-1].attempt, "after": first.alerts[-1].sequence}
    rest = Alerts.model_validate_json((await user.get(path, params=place)).content)
    assert [(found.attempt, found.sequence, found.level) for found in rest.alerts] == [(1, 3, "error")]
    assert (await user.get(path, params={"after_attempt": 1, "after": 3})).json() == {"alerts": [], "capped": []}
    assert (await user.get("/v1/jobs/job-00000000000000ff/alerts")).status_code == 404
    assert (await user.get(path, params={"limit": 0})).status_code == 422


@pytest.mark.parametrize("path", ["metrics", "logs", "logs/search", "logs/download", "alerts", "chart", "diagnosis"])
@pytest.mark.parametrize("name", ["attempt", "after", "after_attempt"])
async def test_the_highest_numbers_are_answered_and_higher_ones_refused(
    user: httpx.AsyncClient, path: str, name: str
) -> None:
    for number in (2**31 - 1, 2**31, 2**53, 2**53 + 1, 10**30):
        answer = await user.get(f"/v1/jobs/{JOB}/{path}", params={name: number, "q": "x"})
        assert answer.status_code in {200, 422}, answer.text

"""Following a job over real HTTP: streams that break, servers that restart, points that are missed."""

from collections.abc import Iterator
from datetime import timedelta

import httpx
import pytest

from stoker.client import Client, JobChanged, LogWritten, MetricsReported
from stoker.client.errors import AnswerNotUnderstood, ConnectionLost, NotFound
from stoker.client.following import PAGE, Follower
from stoker.client.news import JobNews
from tests.integration.cli.contract_content import CUT, JOB, job, line, logs, metrics, point
from tests.integration.cli.contract_server import KEY, ContractServer, problem, running


@pytest.fixture
def follower(server: ContractServer) -> Iterator[Follower]:
    """A follower whose pauses take no time."""
    with httpx.Client(base_url=server.url, headers={"Authorization": f"Bearer {KEY}"}) as http:
        yield Follower(http, JOB, sleep=lambda _seconds: None)


def statuses(news: list[JobNews]) -> list[str]:
    return [item.job.status for item in news if isinstance(item, JobChanged)]


def steps(news: list[JobNews]) -> list[int]:
    return [entry.step for item in news if isinstance(item, MetricsReported) for entry in item.points]


def texts(news: list[JobNews]) -> list[str]:
    return [entry.text for item in news if isinstance(item, LogWritten) for entry in item.lines]


def test_a_stream_is_followed_to_the_end_of_the_job(server: ContractServer, client: Client) -> None:
    server.streams = [[job(1, "queued"), job(2, "training"), metrics(1, 2), logs(1), job(3, "completed")]]
    news = list(client.follow(JOB))
    assert statuses(news) == ["queued", "training", "completed"]
    assert steps(news) == [1, 2]
    assert texts(news) == ["line 1"]


def test_a_broken_stream_goes_on_behind_the_last_event(server: ContractServer, follower: Follower) -> None:
    server.streams = [[job(1, "queued"), job(2, "training"), CUT], [], [job(3, "saving"), job(4, "completed")]]
    assert statuses(list(follower.news())) == ["queued", "training", "saving", "completed"]
    asked = [seen.headers.get("last-event-id") for seen in server.requests("GET", f"/v1/jobs/{JOB}/events")]
    assert asked == [None, "2", "2"]


def test_events_that_are_replayed_are_told_once(server: ContractServer, follower: Follower) -> None:
    server.streams = [[job(1, "queued"), CUT], [job(1, "queued"), job(2, "completed")]]
    assert statuses(list(follower.news())) == ["queued", "completed"]


def test_what_was_reported_during_a_break_is_fetched(server: ContractServer, follower: Follower) -> None:
    server.points, server.lines = [point(n) for n in range(1, 8)], [line(n) for n in range(1, 4)]
    server.streams = [[metrics(1, 2), CUT], [metrics(7, 8), job(1, "completed")]]
    news = list(follower.news())
    assert sorted(steps(news)) == list(range(1, 9))
    assert texts(news) == ["line 1", "line 2", "line 3"]


def test_a_gap_in_a_running_stream_is_filled(server: ContractServer, follower: Follower) -> None:
    follower.monotonic = iter(range(0, 10_000, 10)).__next__
    server.streams = [[metrics(1), metrics(5), job(1, "completed")]]
    told = follower.news()
    assert steps([next(told)]) == [1]
    server.points = [point(n) for n in range(1, 5)]
    assert steps(list(told)) == [2, 3, 4, 5]


def test_points_that_are_stored_late_still_come_before_the_end(server: ContractServer, follower: Follower) -> None:
    looks = 0

    def store_late(_seconds: float) -> None:
        nonlocal looks
        looks += 1
        server.points = [point(1), point(2), point(3)]

    follower.sleep = store_late
    server.streams = [[metrics(1), metrics(3), job(1, "completed")]]
    news = list(follower.news())
    assert sorted(steps(news)) == [1, 2, 3]
    assert statuses(news[-1:]) == ["completed"]
    assert looks == 1


def test_telemetry_that_the_server_dropped_is_fetched(server: ContractServer, follower: Follower) -> None:
    server.streams = [[metrics(1), ("dropped", {"dropped": 2}), job(1, "completed")]]
    told = follower.news()
    next(told)
    server.points = [point(1), point(2), point(3)]
    assert steps(list(told)) == [2, 3]


def test_more_points_than_a_page_are_all_fetched(server: ContractServer, follower: Follower) -> None:
    server.points = [point(n) for n in range(1, PAGE * 2 + 6)]
    server.streams = [[job(1, "completed")]]
    assert steps(list(follower.news())) == list(range(1, PAGE * 2 + 6))


def test_another_attempt_is_told_from_its_first_point(server: ContractServer, follower: Follower) -> None:
    server.streams = [[metrics(1, 2, 3), CUT], [metrics(3, attempt=2), job(1, "completed", attempt=2)]]
    told = follower.news()
    assert steps([next(told)]) == [1, 2, 3]
    server.attempt, server.points = 2, [point(1), point(2)]
    assert sorted(steps(list(told))) == [1, 2, 3]


def test_a_server_that_restarts_is_joined_again(follower: Follower) -> None:
    server = ContractServer(streams=[[job(1, "queued")]])
    with running(server):
        port = int(server.url.rsplit(":", maxsplit=1)[1])
        follower.http = httpx.Client(base_url=server.url, headers={"Authorization": f"Bearer {KEY}"})
        told = follower.news()
        first = next(told)
    server.streams = [[job(2, "completed")]]
    failed = 0

    def restart_later(_seconds: float) -> None:
        nonlocal failed
        failed += 1
        if failed == 3:
            again.__enter__()

    again = running(server, port=port)
    follower.sleep = restart_later
    assert statuses([first, *told]) == ["queued", "completed"]
    assert failed >= 3
    again.__exit__(None, None, None)
    follower.http.close()


def test_a_busy_server_is_asked_again(server: ContractServer, follower: Follower) -> None:
    path = f"GET /v1/jobs/{JOB}/events"
    server.failures = {path: [problem(503, "temporarily_unavailable", "Not now."), problem(429, "too_many", "Full.")]}
    server.streams = [[job(1, "completed")]]
    assert statuses(list(follower.news())) == ["completed"]


def test_a_metrics_service_that_is_away_breaks_nothing(server: ContractServer, follower: Follower) -> None:
    server.failures = {f"GET /v1/jobs/{JOB}/metrics": [problem(503, "temporarily_unavailable", "metrics is away.")]}
    server.points = [point(1)]
    server.streams = [[job(1, "queued")], [job(1, "queued"), job(2, "completed")]]
    news = list(follower.news())
    assert statuses(news) == ["queued", "completed"]
    assert steps(news) == [1]


def test_a_server_that_stays_away_is_given_up() -> None:
    with running(ContractServer()) as gone:
        url = gone.url
    clock = iter(range(0, 10_000, 10))
    with httpx.Client(base_url=url) as http:
        follower = Follower(
            http, JOB, give_up_after=timedelta(seconds=60), sleep=lambda _: None, monotonic=clock.__next__
        )
        with pytest.raises(ConnectionLost, match=url):
            list(follower.news())
    assert next(clock) <= 100


def test_a_job_that_is_over_and_all_told_ends_at_once(server: ContractServer, follower: Follower) -> None:
    from starlette.responses import Response

    server.failures = {f"GET /v1/jobs/{JOB}/events": [Response(status_code=204)]}
    server.points = [point(1)]
    assert steps(list(follower.news())) == [1]


def test_an_unknown_job_is_said_at_once(server: ContractServer, follower: Follower) -> None:
    server.failures = {f"GET /v1/jobs/{JOB}/events": [problem(404, "not_found", "No such job.")]}
    with pytest.raises(NotFound, match="No such job"):
        list(follower.news())


def test_events_of_a_newer_server_are_passed_over(server: ContractServer, follower: Follower) -> None:
    server.streams = [[("weather", {"sunny": True}), job(1, "completed")]]
    assert statuses(list(follower.news())) == ["completed"]


def test_an_event_of_another_form_is_an_error_that_says_so(server: ContractServer, follower: Follower) -> None:
    server.streams = [[("metrics", {"points": "odd"})]]
    with pytest.raises(AnswerNotUnderstood, match="metrics"):
        list(follower.news())


def test_a_page_that_is_no_event_stream_is_an_error_that_says_so(server: ContractServer, follower: Follower) -> None:
    from starlette.responses import HTMLResponse

    server.failures = {f"GET /v1/jobs/{JOB}/events": [HTMLResponse("<html>sign in</html>")]}
    with pytest.raises(AnswerNotUnderstood, match="text/event-stream"):
        list(follower.news())

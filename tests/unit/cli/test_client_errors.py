"""How answers of a server become errors of the client."""

import httpx
import pytest

from stoker.client.errors import (
    Conflicting,
    InvalidRequest,
    NotAllowed,
    NotFound,
    NotSignedIn,
    Refused,
    ServerBusy,
    ServerFailed,
)
from stoker.client.http import problem_of, refusal, shown

PROBLEM = {
    "title": "Not found",
    "status": 404,
    "detail": "There is no job 'job-1' that you can see.",
    "code": "not_found",
    "next_step": "List your jobs.",
    "errors": [{"field": "job_id", "message": "unknown"}],
    "trace_id": "ab" * 16,
}


def answer(status: int, *, headers: dict[str, str] | None = None, **content: object) -> httpx.Response:
    request = httpx.Request("GET", "http://127.0.0.1:1/v1/jobs?token=secret")
    return httpx.Response(status, headers=headers, request=request, **content)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, Refused),
        (401, NotSignedIn),
        (403, NotAllowed),
        (404, NotFound),
        (409, Conflicting),
        (413, Refused),
        (422, InvalidRequest),
        (429, ServerBusy),
        (500, ServerFailed),
        (502, ServerBusy),
        (503, ServerBusy),
        (507, ServerFailed),
    ],
)
def test_each_status_has_its_error(status: int, kind: type[Refused]) -> None:
    error = refusal(answer(status, json=PROBLEM))
    assert type(error) is kind
    assert error.http_status == status


def test_an_error_carries_everything_that_the_server_said() -> None:
    error = refusal(answer(404, json=PROBLEM))
    assert error.detail == PROBLEM["detail"]
    assert error.next_step == "List your jobs."
    assert error.fields == {"job_id": "unknown"}
    assert error.trace_id == "ab" * 16
    assert error.problem_code == "not_found"


def test_an_answer_of_a_proxy_is_quoted_without_the_token_of_the_address() -> None:
    problem = problem_of(answer(502, text="<html>Bad\n gateway</html>"))
    assert problem["detail"] == "http://127.0.0.1:1/v1/jobs answered 502 Bad Gateway: <html>Bad gateway</html>"


def test_an_answer_that_is_json_but_no_problem_is_quoted_too() -> None:
    assert "[1]" in refusal(answer(500, json=[1])).detail


def test_faults_of_another_form_do_not_hide_the_error() -> None:
    assert refusal(answer(422, json=PROBLEM | {"errors": "odd"})).fields == {}


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "7"}, 7.0),
        ({}, None),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "Sun, 22 Nov 2026 10:00:09 GMT", "Date": "Sun, 22 Nov 2026 10:00:00 GMT"}, 9.0),
        ({"Retry-After": "Sun, 22 Nov 2026 10:00:00 GMT", "Date": "Sun, 22 Nov 2026 10:00:09 GMT"}, 0.0),
    ],
)
def test_retry_after_is_read_in_both_forms(headers: dict[str, str], seconds: float | None) -> None:
    error = refusal(answer(503, headers=headers, json=PROBLEM))
    assert isinstance(error, ServerBusy)
    assert error.retry_after == seconds


def test_an_upload_that_the_gateway_still_holds_is_busy_not_refused() -> None:
    assert isinstance(refusal(answer(423, json=PROBLEM | {"code": "upload_in_progress"})), ServerBusy)


def test_an_address_is_shown_without_query_and_password() -> None:
    assert shown("http://user:pass@host:8080/a/b?token=abc#x") == "http://host:8080/a/b"

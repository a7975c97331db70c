"""What every service's HTTP has in common: problems, traces, health, bearer tokens."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta

import httpx
import pytest
from fastapi import FastAPI, HTTPException, Request
from pydantic import BaseModel, SecretStr

from stoker_shared.errors import (
    NotFound,
    RemoteRefusal,
    RequestInvalid,
    ServiceUnavailable,
    StokerError,
    TooManyRequests,
    Unauthorised,
)
from stoker_shared.web import bearer_token, create_application

TRACE = "0123456789abcdef0123456789abcdef"
TRACEPARENT = f"00-{TRACE}-0123456789abcdef-01"

ERRORS: dict[str, Callable[[], Exception]] = {
    "not-found": lambda: NotFound("job", "job-1", next_step="See stoker jobs."),
    "unauthorised": lambda: Unauthorised("No key."),
    "busy": lambda: TooManyRequests("Busy.", retry_after=timedelta(seconds=7)),
    "away": lambda: ServiceUnavailable("metrics", "it is not running"),
    "fields": lambda: RequestInvalid("Wrong.", fields={"batch.size": "too large"}),
    "remote": lambda: RemoteRefusal(code="plan_stale", status=409, title="Stale", detail="Old.", next_step="Plan."),
    "inside": lambda: StokerError("The ledger does not add up."),
    "unforeseen": lambda: RuntimeError("geheim in an exception"),
    "framework": lambda: HTTPException(405, "Method Not Allowed", headers={"Allow": "GET"}),
}


class Body(BaseModel):
    name: str
    count: int
    password: SecretStr


@asynccontextmanager
async def nothing(_application: FastAPI) -> AsyncIterator[None]:
    yield


async def yes() -> bool:
    return True


async def no() -> bool:
    return False


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    application = create_application(title="t", description="d", lifespan=nothing, checks={"nats": yes, "postgres": no})

    @application.get("/fail/{name}")
    async def fail(name: str) -> None:
        error = ERRORS[name]()
        raise error

    @application.post("/body")
    async def take(body: Body) -> str:
        return body.name

    @application.get("/token")
    async def token(request: Request) -> str:
        return bearer_token(request)

    transport = httpx.ASGITransport(app=application, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        yield client


@pytest.mark.parametrize(
    ("name", "status", "code", "headers"),
    [
        ("not-found", 404, "not_found", {}),
        ("unauthorised", 401, "unauthorised", {"www-authenticate": "Bearer"}),
        ("busy", 429, "too_many_requests", {"retry-after": "7"}),
        ("away", 503, "temporarily_unavailable", {"retry-after": "2"}),
        ("fields", 422, "request_invalid", {}),
        ("remote", 409, "plan_stale", {}),
        ("inside", 500, "internal_error", {}),
        ("unforeseen", 500, "internal_error", {}),
        ("framework", 405, "http_405", {"allow": "GET"}),
    ],
)
async def test_every_error_is_a_problem_with_a_code_and_the_trace(
    client: httpx.AsyncClient, name: str, status: int, code: str, headers: dict[str, str]
) -> None:
    answer = await client.get(f"/fail/{name}", headers={"traceparent": TRACEPARENT})
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    problem = answer.json()
    assert (problem["status"], problem["code"], problem["trace_id"]) == (status, code, TRACE)
    assert problem["detail"]
    assert answer.headers.items() >= headers.items()
    assert answer.headers["x-trace-id"] == TRACE


async def test_an_unforeseen_error_tells_nothing_of_its_inside(client: httpx.AsyncClient) -> None:
    answer = await client.get("/fail/unforeseen?token=geheim")
    assert "geheim" not in answer.text
    assert "Traceback" not in answer.text
    assert answer.json()["next_step"]


async def test_a_wrong_body_is_answered_with_the_path_of_each_field_and_no_value(client: httpx.AsyncClient) -> None:
    answer = await client.post("/body", json={"count": "geheim-count", "password": ["geheim-word"]})
    problem = answer.json()
    assert answer.status_code == 422
    assert {fault["field"] for fault in problem["errors"]} == {"body.name", "body.count", "body.password"}
    assert all(fault["message"] for fault in problem["errors"])
    assert "geheim" not in answer.text


async def test_fields_of_an_error_of_ours_are_listed(client: httpx.AsyncClient) -> None:
    problem = (await client.get("/fail/fields")).json()
    assert problem["errors"] == [{"field": "batch.size", "message": "too large"}]


async def test_a_request_without_a_trace_begins_one(client: httpx.AsyncClient) -> None:
    first, second = [(await client.get("/healthz")).headers["x-trace-id"] for _ in range(2)]
    assert len(first) == len(second) == 32
    assert first != second


async def test_a_process_is_alive_even_if_it_is_not_ready(client: httpx.AsyncClient) -> None:
    assert (await client.get("/healthz")).json() == {"status": "alive"}
    ready = await client.get("/readyz")
    assert (ready.status_code, ready.json()) == (
        503,
        {"status": "not ready", "checks": {"nats": True, "postgres": False}},
    )


@pytest.mark.parametrize("header", ["Bearer abc", "bearer  abc ", "BEARER abc"])
async def test_a_bearer_token_is_read(client: httpx.AsyncClient, header: str) -> None:
    assert (await client.get("/token", headers={"Authorization": header})).json() == "abc"


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Basic abc"}, {"Authorization": "Bearer "}])
async def test_a_request_without_a_bearer_token_is_told_so(client: httpx.AsyncClient, headers: dict[str, str]) -> None:
    answer = await client.get("/token", headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthorised")
    assert "Authorization: Bearer" in answer.json()["next_step"]

"""Two replicas know at once who may report and what pods are told; what was missed is read from the database."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

import asyncpg
import httpx
import pytest

from stoker.stack.standalone import RunningNats
from stoker_shared.clock import SystemClock
from stoker_shared.rpc.metrics import ORDER, Control, OrderAttempt
from tests.support.bus import kill, start, until
from tests.support.metrics import (
    JOB,
    ControlPlane,
    bearer,
    control_plane,
    heartbeat,
    metrics_service,
)
from tests.support.servers import TestDatabase

NEVER = {"STOKER_METRICS_TOKEN_LIST_EVERY": "PT1H"}
"""Nothing is read anew within a test, unless the broker comes back."""


async def execute(database: TestDatabase, statement: str) -> None:
    """Change rows behind the service's back."""
    connection = await asyncpg.connect(database.url("metrics", driver="postgresql"))
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


@dataclass
class Replicas:
    """Two of the service, and those who ask them."""

    first: httpx.AsyncClient
    second: httpx.AsyncClient
    plane: ControlPlane

    async def answers(self, token: str, sequence: int) -> list[httpx.Response]:
        """What each says to a heartbeat."""
        url = f"/v1/jobs/{JOB}/heartbeat"
        return [
            await replica.post(url, json=heartbeat(sequence), headers=bearer(token))
            for replica in (self.first, self.second)
        ]

    async def statuses(self, token: str, sequence: int) -> list[int]:
        """Their statuses."""
        return [answer.status_code for answer in await self.answers(token, sequence)]


@pytest.fixture
async def replicas(metrics_variables: dict[str, str], clean_bus: RunningNats) -> AsyncIterator[Replicas]:
    variables = metrics_variables | NEVER
    async with (
        metrics_service(variables, clock=SystemClock()) as first,
        metrics_service(variables, clock=SystemClock()) as second,
        control_plane(clean_bus) as plane,
    ):
        yield Replicas(first, second, plane)


async def test_a_revoke_at_one_replica_counts_at_all(replicas: Replicas) -> None:
    token = await replicas.plane.admit()
    assert await replicas.statuses(token, 1) == [202, 202]
    await replicas.plane.revoke()

    async def both_refuse() -> bool:
        return await replicas.statuses(token, 2) == [401, 401]

    await until(both_refuse)


async def test_an_order_at_one_replica_is_in_the_answers_of_all(replicas: Replicas) -> None:
    token = await replicas.plane.admit()
    assert await replicas.statuses(token, 1) == [202, 202]
    for action in ("checkpoint", "land"):
        control = Control(action=action, reason="budget")
        await replicas.plane.deployer.ask(ORDER, OrderAttempt(job_id=JOB, attempt=1, control=control))

    async def both_order() -> bool:
        return [answer.json()["control"]["action"] for answer in await replicas.answers(token, 2)] == ["land", "land"]

    await until(both_order)


async def test_what_changed_while_the_broker_was_away_counts_when_it_is_back(
    replicas: Replicas, clean_bus: RunningNats, metrics_database: TestDatabase
) -> None:
    token = await replicas.plane.admit()
    assert await replicas.statuses(token, 1) == [202, 202]
    await kill(clean_bus)
    await execute(metrics_database, "UPDATE attempt_reports SET revoked_at = now(), standing_version = 100")
    await start(clean_bus)

    async def both_refuse() -> bool:
        return await replicas.statuses(token, 2) == [401, 401]

    await until(both_refuse)


async def test_what_the_row_says_counts_with_the_next_list(
    metrics_variables: dict[str, str], clean_bus: RunningNats, metrics_database: TestDatabase
) -> None:
    often = metrics_variables | {"STOKER_METRICS_TOKEN_LIST_EVERY": "PT0.1S"}
    async with metrics_service(often, clock=SystemClock()) as http, control_plane(clean_bus) as plane:
        token = await plane.admit()
        await execute(metrics_database, "UPDATE attempt_reports SET control_action = 'stop', control_reason = 'budget'")

        async def is_ordered() -> bool:
            answer = await http.post(f"/v1/jobs/{JOB}/heartbeat", json=heartbeat(1), headers=bearer(token))
            control = answer.json()["control"]
            return (control["action"], control["reason"]) == ("stop", "budget")

        await until(is_ordered)

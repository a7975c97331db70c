"""A secret stands in no log, event, answer, error, message or row in clear text, whatever happens with it."""

import json
import re
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from structlog.testing import capture_logs

from stoker_shared.errors import RemoteRefusal, StokerError
from stoker_shared.rpc.deployer import (
    HEALTH,
    INSPECT_MODEL,
    LOGS,
    OFFERS,
    HealthQuery,
    InspectModel,
    MachineLogsQuery,
    OffersQuery,
)
from tests.integration.deployer.clouds import ANNA, Clouds, cloud_offer, cloud_world, listed, remove_key, set_key
from tests.integration.deployer.world import World, eventually

PROVIDER_KEY = "rpa_PROVIDER0KEY0OF0ANNA0Q7XZ"
REFUSED_KEY = "rpa_REFUSED0KEY0OF0ANNA0W8YV"
HUB_TOKEN = "hf_HUBxTOKENxOFxANNAxR5ST"
WANDB_KEY = "wandbxKEYxTHATxNOxJOBxASKSxFOR"
SECRETS = (PROVIDER_KEY, REFUSED_KEY, HUB_TOKEN, WANDB_KEY)


async def _everything(world: World) -> str:
    """All rows of all tables."""
    connection = await asyncpg.connect(world.database.url("deployer", driver="postgresql"))
    try:
        names = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = current_schema()")
        rows = [await connection.fetch(f'SELECT t::text AS row FROM "{name["tablename"]}" t') for name in names]
        return "\n".join(row["row"] for table in rows for row in table)
    finally:
        await connection.close()


def _found_in(text: str) -> list[str]:
    # Also a part of it that would be enough to guess the rest by: more than the hint.
    return [secret for secret in SECRETS for part in (secret, secret[-8:], secret[:16]) if part in text]


async def test_no_secret_is_told_to_anybody_but_the_machine_that_asked(world: World, tmp_path: Path) -> None:
    clouds, told = Clouds(), list[Any]()
    cloud = clouds.open(PROVIDER_KEY, account_id="anna")
    with capture_logs() as logs:
        await world.start_deployer(**cloud_world(world, clouds, tmp_path))
        for name, value in (("cloud", PROVIDER_KEY), ("huggingface", HUB_TOKEN), ("wandb", WANDB_KEY)):
            told.append(await set_key(world, ANNA, value, name=name))
        with pytest.raises(RemoteRefusal) as refused:
            await set_key(world, ANNA, REFUSED_KEY)
        told.append(refused.value)
        command = await world.launch(offers=[cloud_offer()], secrets=["huggingface"], max_attempts=1)
        job_id = command.job_id
        await eventually(lambda: bool(cloud.living()))
        order = cloud.living()[0].order
        for rpc, question in _questions(job_id):
            told.append(await _answer(world, rpc, question))
        # Whatever goes wrong at the provider is told in words that do not hold the key.
        cloud.key = "taken back"
        for rpc, question in _questions(job_id):
            told.append(await _answer(world, rpc, question))
        cloud.key = PROVIDER_KEY
        await world.peers.exit(job_id, "trainer_error", code=1)
        await world.peers.until_told(job_id, "failed")
        told += [await listed(world, ANNA), await remove_key(world, ANNA), *world.peers.events_of(job_id)]
        rows = await _everything(world)
    assert order.environment["HF_TOKEN"] == HUB_TOKEN
    assert [name for name, value in order.environment.items() if _found_in(value)] == ["HF_TOKEN"]
    assert _found_in(repr(order)) == []
    assert _found_in(" ".join(_text(one) for one in told)) == []
    assert _found_in(rows) == []
    assert _found_in(json.dumps(logs, default=repr)) == []
    assert _found_in(command.model_dump_json()) == []


async def test_a_machine_gets_only_what_its_launch_asked_for(world: World, tmp_path: Path) -> None:
    clouds = Clouds()
    cloud = clouds.open(PROVIDER_KEY)
    await world.start_deployer(**cloud_world(world, clouds, tmp_path))
    for name, value in (("cloud", PROVIDER_KEY), ("huggingface", HUB_TOKEN), ("wandb", WANDB_KEY)):
        await set_key(world, ANNA, value, name=name)
    await world.launch(offers=[cloud_offer()])
    await eventually(lambda: bool(cloud.living()))
    environment = cloud.living()[0].order.environment
    assert {"HF_TOKEN", "WANDB_API_KEY"} & environment.keys() == set()
    assert _found_in(str(dict(environment))) == []


async def test_a_secret_that_is_not_set_ends_the_job_before_there_is_a_machine(world: World, tmp_path: Path) -> None:
    clouds = Clouds()
    cloud = clouds.open(PROVIDER_KEY)
    await world.start_deployer(**cloud_world(world, clouds, tmp_path))
    await set_key(world, ANNA, PROVIDER_KEY)
    command = await world.launch(offers=[cloud_offer()], secrets=["wandb"])
    await world.peers.until_told(command.job_id, "failed")
    row = await world.row(command.job_id)
    assert row["end_reason"] == "plan_refused"
    assert re.search("wandb", row["end_detail"])
    assert cloud.machines == {}


def _questions(job_id: str) -> list[tuple[Any, Any]]:
    return [
        (OFFERS, OffersQuery(owner=ANNA)),
        (HEALTH, HealthQuery(owner=ANNA)),
        (INSPECT_MODEL, InspectModel(owner=ANNA, provider="cloud", name_or_path="nowhere", secrets=["huggingface"])),
        (LOGS, MachineLogsQuery(owner=ANNA, job_id=job_id)),
    ]


async def _answer(world: World, rpc: Any, question: Any) -> Any:
    try:
        return await world.peers.ask(rpc, question)
    except StokerError as error:
        return error


def _text(told: Any) -> str:
    return told.model_dump_json() if hasattr(told, "model_dump_json") else f"{told} {told!r} {vars(told)}"

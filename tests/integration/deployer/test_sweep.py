"""The orphan sweep: what it ends, what it only tells, and who pays."""

import asyncio
from datetime import UTC, datetime, timedelta

from stoker_deployer.main import Deployer
from stoker_deployer.providers.accounts import Account
from stoker_shared.identifiers import new_identifier
from stoker_shared.job_state import JobStatus
from stoker_shared.money import cost_of
from stoker_shared.rpc.deployer import HEALTH, HealthQuery, ProviderHealth
from tests.integration.deployer.world import World

S = JobStatus
PAUSE = 0.4  # between two looks that count as two


async def _cancelled(world: World) -> str:
    job_id = (await world.launch()).job_id
    await world.machine(f"{job_id}-1")
    await world.cancel(job_id)
    await world.peers.until_told(job_id, "cancelled")
    return job_id


async def _sweep(deployer: Deployer) -> list[str]:
    return await deployer.sweep.sweep(Account(deployer.providers.operators["local"]))


def _revive(world: World, name: str, like: str, **changes: object) -> None:
    machine = world.simulator.machines[like]
    running = {"name": name, "state": "running", "ended_at": None, "started_at": datetime.now(UTC)}
    world.simulator.machines[name] = machine.model_copy(update=running | changes)


async def _health(world: World) -> ProviderHealth:
    (health,) = (await world.peers.ask(HEALTH, HealthQuery())).providers
    assert isinstance(health, ProviderHealth)
    return health


async def test_a_machine_of_an_ended_attempt_is_ended_when_it_is_seen_twice(world: World) -> None:
    deployer = await world.start_deployer()
    name = f"{await _cancelled(world)}-1"
    _revive(world, name, name)
    assert await _sweep(deployer) == []
    assert [machine.name for machine in world.simulator.living()] == [name]
    await asyncio.sleep(PAUSE)
    assert await _sweep(deployer) == [name]
    assert world.simulator.living() == []
    assert await _sweep(deployer) == []
    assert await world.query("SELECT * FROM stray_machines") == []


async def test_two_replicas_count_their_looks_together(world: World) -> None:
    first, second = await world.start_deployer(), await world.start_deployer()
    name = f"{await _cancelled(world)}-1"
    _revive(world, name, name)
    assert await _sweep(first) == []
    await asyncio.sleep(PAUSE)
    assert await _sweep(second) == [name]


async def test_a_machine_that_only_a_stale_list_shows_is_not_ended_and_costs_nothing(world: World) -> None:
    deployer = await world.start_deployer()
    job_id = await _cancelled(world)
    name = f"{job_id}-1"
    ledger = await world.query("SELECT * FROM ledger_entries")
    _revive(world, name, name)
    await _sweep(deployer)
    await asyncio.sleep(PAUSE)
    provider = deployer.providers.operators["local"]
    stale = await provider.list_machines()
    world.simulator.move(name, "terminated")

    async def list_stale() -> object:
        return stale

    provider.list_machines = list_stale  # type: ignore[method-assign, assignment]
    assert await _sweep(deployer) == []
    assert await world.query("SELECT * FROM ledger_entries") == ledger


async def test_what_an_orphan_cost_is_booked_to_its_job_once(world: World) -> None:
    deployer = await world.start_deployer()
    job_id = await _cancelled(world)
    name = f"{job_id}-1"
    (attempt,) = await world.query("SELECT * FROM attempts WHERE job_id = $1", job_id)
    before = await _spent(world, job_id)
    _revive(world, name, name)
    started = datetime.now(UTC) + timedelta(minutes=-30)
    # It ran on for half an hour after we were told that it was gone.
    await world.query("UPDATE attempts SET billing_ended_at = $2 WHERE job_id = $1 RETURNING 1", job_id, started)
    world.simulator.machines[name].started_at = started - timedelta(hours=1)
    world.simulator.ignored_terminations = 2
    await _sweep(deployer)
    for _ in range(2):
        await asyncio.sleep(PAUSE)
        assert await _sweep(deployer) == [name]
    world.simulator.move(name, "terminated")
    await _sweep(deployer)
    ended = world.simulator.machines[name].ended_at
    assert ended is not None
    booked = await _spent(world, job_id) - before
    price = attempt["price_micro_usd_per_hour"]
    assert cost_of(timedelta(minutes=30), price) <= booked <= cost_of(ended - started, price)
    rows = await world.query("SELECT debit, credit, amount FROM ledger_entries WHERE job_id = $1", job_id)
    held = sum((r["debit"].startswith("held:") - r["credit"].startswith("held:")) * r["amount"] for r in rows)
    assert held == 0
    assert await world.query("SELECT * FROM stray_machines") == []


async def _spent(world: World, job_id: str) -> int:
    rows = await world.query("SELECT debit, credit, amount FROM ledger_entries WHERE job_id = $1", job_id)
    return sum((row["debit"].startswith("spent:") - row["credit"].startswith("spent:")) * row["amount"] for row in rows)


async def test_an_orphan_that_has_not_begun_to_cost_is_ended_for_nothing(world: World) -> None:
    deployer = await world.start_deployer()
    name = f"{await _cancelled(world)}-1"
    ledger = await world.query("SELECT * FROM ledger_entries")
    _revive(world, name, name, state="queued", started_at=None)
    assert await _sweep(deployer) == []
    await asyncio.sleep(PAUSE)
    assert await _sweep(deployer) == [name]
    assert await world.query("SELECT * FROM ledger_entries") == ledger


async def test_a_machine_of_an_unknown_attempt_is_told_and_never_touched(world: World) -> None:
    deployer = await world.start_deployer()
    like = f"{await _cancelled(world)}-1"
    stranger = f"{new_identifier('job')}-1"
    for name in (stranger, "somebody-elses"):
        _revive(world, name, like)
    for _ in range(3):
        assert await _sweep(deployer) == []
        await asyncio.sleep(PAUSE)
    assert {machine.name for machine in world.simulator.living()} == {stranger, "somebody-elses"}
    assert [machine.name for machine in (await _health(world)).unknown_machines] == [stranger]
    world.simulator.move(stranger, "terminated")
    await _sweep(deployer)
    assert (await _health(world)).unknown_machines == []


async def test_a_living_attempt_is_left_alone(world: World) -> None:
    deployer = await world.start_deployer()
    job_id = (await world.launch()).job_id
    await world.peers.until_told(job_id, "machine_provisioned")
    for _ in range(2):
        assert await _sweep(deployer) == []
        await asyncio.sleep(PAUSE)
    assert (await _health(world)).unknown_machines == []
    await world.peers.exit(job_id, "success")
    await world.until(job_id, S.COMPLETED)
    await world.assert_sound(job_id, status=S.COMPLETED)

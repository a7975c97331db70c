"""The provider's own bill takes the place of what was counted, whenever it comes and whoever asks."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text

from stoker_deployer.bills.repository import BillRepository
from stoker_deployer.main import Deployer
from stoker_deployer.providers import Alive, AliveKind, Machine, MachineState
from stoker_deployer.providers.accounts import Account
from stoker_shared.events import CostSettled
from stoker_shared.job_state import JobStatus
from tests.integration.deployer.world import World

S = JobStatus
ASK = {"BILL_ASK_EVERY": "0.1"}


async def _completed(world: World) -> str:
    world.simulator.does_bill = True
    job_id = (await world.launch()).job_id
    await world.machine(f"{job_id}-1")
    await world.peers.say(job_id, "training")
    await world.peers.until_told(job_id, "training_started")
    await world.peers.exit(job_id, "success")
    await world.peers.until_told(job_id, "completed")
    return job_id


async def _settled(world: World, job_id: str) -> CostSettled:
    told = await world.peers.until_told(job_id, "cost_settled")
    assert isinstance(told, CostSettled)
    return told


async def _attempt(world: World, job_id: str) -> dict[str, Any]:
    return (await world.query("SELECT * FROM attempts WHERE job_id = $1", job_id))[0]


@pytest.mark.parametrize("factor", [0.5, 1, 2])
async def test_a_bill_that_differs_is_booked_and_told(world: World, factor: float) -> None:
    await world.start_deployer(**ASK)
    job_id = await _completed(world)
    (counted,) = await world.query(
        "SELECT sum(amount)::bigint AS amount FROM ledger_entries WHERE job_id = $1 AND debit LIKE 'spent:%'", job_id
    )
    bill = int(counted["amount"] * factor)
    world.simulator.machines[f"{job_id}-1"].billed_micro_usd = bill
    told = await _settled(world, job_id)
    assert (told.billed_micro_usd, told.spent_micro_usd, told.settled_attempt) == (bill, bill, 1)
    assert told.estimated_micro_usd == counted["amount"]
    assert (told.status, told.reason) == (S.COMPLETED, "success")
    attempt = await _attempt(world, job_id)
    assert (attempt["bill_state"], attempt["billed_micro_usd"], attempt["bill_ask_at"]) == ("billed", bill, None)
    budgets = await world.query("SELECT kind, committed_micro_usd FROM budgets ORDER BY kind")
    assert [row["committed_micro_usd"] for row in budgets] == [bill, bill]
    await world.assert_sound(job_id, status=S.COMPLETED)


async def test_a_bill_that_is_not_known_yet_is_asked_for_until_it_is(world: World) -> None:
    await world.start_deployer(**ASK)
    job_id = await _completed(world)
    world.simulator.break_next("describe", "server_error", times=2)
    await asyncio.sleep(0.5)
    assert (await _attempt(world, job_id))["bill_state"] == "open"
    world.simulator.machines[f"{job_id}-1"].billed_micro_usd = 77
    assert (await _settled(world, job_id)).spent_micro_usd == 77
    await world.assert_sound(job_id, status=S.COMPLETED)


async def test_a_bill_for_one_machine_leaves_what_another_of_the_attempt_cost(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployer = await world.start_deployer(**ASK)
    job_id = await _completed(world)
    provider = deployer.providers.operators["local"]
    alive = Alive(AliveKind.RUNNING, datetime.now(UTC) - timedelta(minutes=30))
    listed, described = provider.list_machines, provider.describe

    async def with_a_second() -> list[Machine]:
        return [*await listed(), Machine(f"{job_id}-1", "second", alive)]

    async def describe(handle: str) -> MachineState:
        return alive if handle == "second" else await described(handle)

    monkeypatch.setattr(provider, "list_machines", with_a_second)
    monkeypatch.setattr(provider, "describe", describe)
    assert await deployer.sweep.sweep(Account(provider)) == []
    await asyncio.sleep(0.4)
    assert await deployer.sweep.sweep(Account(provider)) == ["second"]
    orphans = (await _attempt(world, job_id))["orphans_micro_usd"]
    assert orphans > 0
    world.simulator.machines[f"{job_id}-1"].billed_micro_usd = 77
    told = await _settled(world, job_id)
    assert (told.billed_micro_usd, told.spent_micro_usd) == (77, 77 + orphans)
    await world.assert_sound(job_id, status=S.COMPLETED)


async def test_without_a_bill_in_time_the_estimate_stands_and_is_marked(world: World) -> None:
    await world.start_deployer(**ASK, SETTLE_FOR="0.3")
    job_id = await _completed(world)
    async with asyncio.timeout(60):
        while True:
            attempt = await _attempt(world, job_id)
            if attempt["bill_state"] == "estimated":
                break
            await asyncio.sleep(0.05)
    assert attempt["bill_ask_at"] is None
    assert [event.type for event in world.peers.events_of(job_id)][-1] == "completed"
    await world.assert_sound(job_id, status=S.COMPLETED)


async def test_racing_deployers_book_a_bill_once(world: World) -> None:
    replicas = [await world.start_deployer(BILL_ASK_EVERY="1000") for _ in range(2)]
    job_id = await _completed(world)
    world.simulator.machines[f"{job_id}-1"].billed_micro_usd = 77
    (due,) = await _due(replicas[0])
    await asyncio.gather(*(replica.settlement._settle(due) for replica in replicas))
    await _settled(world, job_id)
    await world.assert_sound(job_id, status=S.COMPLETED)
    billed = await world.query("SELECT 1 FROM ledger_entries WHERE kind = 'settle' AND key LIKE '%/billed'")
    assert len(billed) == 1


async def test_while_a_job_is_claimed_its_bill_waits(world: World) -> None:
    deployer = await world.start_deployer(BILL_ASK_EVERY="1000")
    job_id = await _completed(world)
    world.simulator.machines[f"{job_id}-1"].billed_micro_usd = 77
    (due,) = await _due(deployer)
    await _set_claim(deployer, job_id, "gen_random_uuid()")
    await deployer.settlement._settle(due)
    assert (await _attempt(world, job_id))["bill_state"] == "open"
    await _set_claim(deployer, job_id, "NULL")
    await deployer.settlement._settle(due)
    assert (await _settled(world, job_id)).spent_micro_usd == 77


async def _due(deployer: Deployer) -> list[Any]:
    async with deployer.database.transaction() as session:
        return await BillRepository().take_due(session, now=datetime.now(UTC), pause=timedelta(seconds=1))


async def _set_claim(deployer: Deployer, job_id: str, value: str) -> None:
    async with deployer.database.transaction() as session:
        await session.execute(text(f"UPDATE jobs SET lock_token = {value} WHERE job_id = :job_id"), {"job_id": job_id})

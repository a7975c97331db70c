"""Budgets of users and projects: jobs that share one never take more than it has, whoever races."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import SecretStr

from stoker_deployer import MIGRATIONS
from stoker_deployer.ledger.book import Book
from stoker_deployer.ledger.levels import LevelKind, levels_of
from stoker_deployer.ledger.repository import LedgerRepository
from stoker_deployer.main import Deployer
from stoker_shared.database import migrate_down, migrate_up
from stoker_shared.errors import RemoteRefusal
from stoker_shared.identifiers import new_identifier
from stoker_shared.job_state import EndReason, JobStatus
from stoker_shared.money import ONE_USD
from stoker_shared.rpc.deployer import BUDGETS, SET_BUDGET, BudgetFacts, BudgetsQuery, SetBudget
from tests.integration.deployer.world import World

S = JobStatus
OWNER = "user-00000000000000aa"


async def _limit(world: World, kind: str, limit: int | None, *, name: str = "") -> BudgetFacts:
    asked = SetBudget(owner=OWNER, kind=kind, name=name, limit_micro_usd=limit)  # type: ignore[arg-type]
    answer: BudgetFacts = await world.peers.ask(SET_BUDGET, asked)
    return answer


async def _budgets(world: World) -> dict[tuple[str, str], BudgetFacts]:
    listed = await world.peers.ask(BUDGETS, BudgetsQuery(owner=OWNER))
    return {(budget.kind, budget.name): budget for budget in listed.budgets}


async def _run(world: World, job_id: str) -> None:
    await world.machine(f"{job_id}-1")
    await world.peers.exit(job_id, "success")
    await world.peers.until_told(job_id, "completed")


async def test_what_jobs_hold_and_spend_is_committed_in_every_budget_above(world: World) -> None:
    await world.start_deployer()
    job_id = (await world.launch(project="p")).job_id
    await world.machine(f"{job_id}-1")
    await world.peers.until_told(job_id, "machine_provisioned")
    held = await _budgets(world)
    assert {key: budget.committed_micro_usd for key, budget in held.items()} == {
        ("user", ""): ONE_USD,
        ("project", "p"): ONE_USD,
    }
    await world.peers.exit(job_id, "success")
    completed = await world.peers.until_told(job_id, "completed")
    spent = await _budgets(world)
    assert {budget.committed_micro_usd for budget in spent.values()} == {completed.spent_micro_usd}
    await world.assert_sound(job_id, status=S.COMPLETED)


async def test_a_launch_that_the_project_does_not_cover_fails_with_its_numbers(world: World) -> None:
    await world.start_deployer()
    await _limit(world, "project", 1_000, name="p")
    job_id = (await world.launch(project="p")).job_id
    failed = await world.peers.until_told(job_id, "failed")
    assert failed.reason == EndReason.BUDGET_NOT_COVERED  # type: ignore[attr-defined]
    assert failed.detail == (  # type: ignore[attr-defined]
        "$0.0010 of $0.0010 of project 'p' are free; attempt 1 needs at least $0.0028 at $1.0000 per hour."
    )
    assert world.simulator.launches() == []
    await world.assert_sound(job_id, status=S.FAILED)


async def test_a_job_waits_for_money_that_another_holds_and_then_runs(world: World) -> None:
    await world.start_deployer()
    await _limit(world, "user", ONE_USD)
    first = (await world.launch()).job_id
    await world.machine(f"{first}-1")
    second = (await world.launch(project="other")).job_id
    await asyncio.sleep(0.5)
    assert (await world.row(second))["status"] == "queued"
    await _run(world, first)
    await _run(world, second)
    for job_id in (first, second):
        await world.assert_sound(job_id, status=S.COMPLETED)


async def test_a_limit_that_is_lowered_stops_no_job_that_runs(world: World) -> None:
    await world.start_deployer()
    job_id = (await world.launch()).job_id
    await world.machine(f"{job_id}-1")
    await world.peers.until_told(job_id, "machine_provisioned")
    facts = await _limit(world, "user", 5_000)
    assert (facts.limit_micro_usd, facts.committed_micro_usd) == (5_000, ONE_USD)
    await asyncio.sleep(0.5)
    await _run(world, job_id)
    await world.assert_sound(job_id, status=S.COMPLETED)


async def test_racing_reservations_never_commit_more_than_the_limit(world: World) -> None:
    deployer = await world.start_deployer()
    await _limit(world, "user", 1_000)
    taken = await asyncio.gather(*(_reserve(deployer, wanted=300, project=f"p{n % 3}") for n in range(12)))
    assert sum(taken) == 1_000
    budgets = await _budgets(world)
    assert budgets["user", ""].committed_micro_usd == 1_000
    assert sum(budget.committed_micro_usd for key, budget in budgets.items() if key[0] == "project") == 1_000
    balances = await _balances(world)
    assert sum(balances.values()) == 0
    assert balances[f"user:{OWNER}"] == -1_000


async def test_a_limit_can_be_taken_away_and_nothing_else_be_said(world: World) -> None:
    await world.start_deployer()
    assert (await _limit(world, "project", 5, name="p")).limit_micro_usd == 5
    assert (await _limit(world, "project", None, name="p")).limit_micro_usd is None
    with pytest.raises(RemoteRefusal):
        await _limit(world, "project", 5)  # of no project
    with pytest.raises(RemoteRefusal):
        await _limit(world, "user", 5, name="p")


async def _reserve(deployer: Deployer, *, wanted: int, project: str) -> int:
    ledger, now, job_id = LedgerRepository(), datetime.now(UTC), new_identifier("job")
    async with deployer.database.transaction() as session:
        book = Book(job_id, budget=ONE_USD, levels=levels_of(OWNER, project))
        assert [level.kind for level in book.levels] == [LevelKind.USER, LevelKind.PROJECT]
        await ledger.lock(session, book, at=now)
        amount = min(wanted, book.free)
        book.reserve(1, amount=amount, at=now)
        await ledger.save(session, book)
        return amount


async def _balances(world: World) -> dict[str, int]:
    entries: list[dict[str, Any]] = await world.query("SELECT debit, credit, amount FROM ledger_entries")
    balances: dict[str, int] = {}
    for entry in entries:
        balances[entry["debit"]] = balances.get(entry["debit"], 0) + entry["amount"]
        balances[entry["credit"]] = balances.get(entry["credit"], 0) - entry["amount"]
    return balances


async def test_what_the_provider_asks_for_the_machine_counts_and_not_what_it_offered(world: World) -> None:
    world.simulator.price_micro_usd_per_hour = 2 * ONE_USD
    await world.start_deployer()
    job_id = (await world.launch()).job_id
    provisioned = await world.peers.until_told(job_id, "machine_provisioned")
    assert provisioned.price_micro_usd_per_hour == 2 * ONE_USD
    await _run(world, job_id)
    await world.assert_sound(job_id, status=S.COMPLETED)
    dear = (await world.launch(max_price_micro_usd_per_hour=ONE_USD)).job_id
    failed = await world.peers.until_told(dear, "failed")
    assert failed.reason == EndReason.PRICE_ABOVE_CEILING  # type: ignore[attr-defined]
    await world.assert_sound(dear, status=S.FAILED)


async def test_postings_from_before_there_were_levels_are_given_theirs(world: World) -> None:
    deployer = await world.start_deployer()
    ended, running = (await world.launch(project="p")).job_id, (await world.launch()).job_id
    await world.machine(f"{running}-1")
    await _run(world, ended)
    await deployer.stop()
    world.deployers.remove(deployer)
    before = await _balances(world), await _committed(world)
    url = SecretStr(world.database.url("deployer"))
    await asyncio.to_thread(migrate_down, MIGRATIONS, database_url=url, revision="0001")
    assert not any(account.startswith(("user:", "project:")) for account in await _balances(world))
    await asyncio.to_thread(migrate_up, MIGRATIONS, database_url=url)
    assert (await _balances(world), await _committed(world)) == before


async def _committed(world: World) -> list[dict[str, Any]]:
    return await world.query("SELECT kind, name, committed_micro_usd FROM budgets ORDER BY kind, name")

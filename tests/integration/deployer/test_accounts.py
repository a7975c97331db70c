"""Jobs of several owners at one provider, each with a key of its own, that come and go while machines run."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from stoker_deployer.main import Deployer
from stoker_deployer.providers import MachineOrder
from stoker_shared.commands import LaunchJob
from stoker_shared.errors import RemoteRefusal
from stoker_shared.job_state import JobStatus
from stoker_shared.rpc.deployer import HEALTH, OFFERS, HealthQuery, OffersQuery
from stoker_shared.tasks import end_tasks
from tests.integration.deployer.clouds import (
    ANNA,
    BERTA,
    CLOUD,
    Clouds,
    cloud_offer,
    cloud_world,
    listed,
    remove_key,
    set_key,
)
from tests.integration.deployer.world import World, eventually
from tests.simulators.hostile.cloud import Cloud

ANNAS_KEY, BERTAS_KEY, NEW_KEY = "key-0f-anna-at-the-cloud", "key-0f-berta-at-the-cloud", "new-key-0f-anna-at-cloud"
S = JobStatus


@pytest.fixture
def clouds() -> Clouds:
    """Two accounts that know nothing of each other."""
    made = Clouds()
    made.open(ANNAS_KEY, account_id="anna")
    made.open(BERTAS_KEY, account_id="berta")
    return made


@pytest.fixture
async def deployer(world: World, clouds: Clouds, tmp_path: Path) -> Deployer:
    """With the provider `cloud`. Keys are read anew with each look."""
    made = await world.start_deployer(**cloud_world(world, clouds, tmp_path))
    made.accounts._fresh_for = made.accounts._fresh_for * 0
    return made


async def _running(world: World, cloud: Cloud, owner: str = ANNA) -> LaunchJob:
    command = await world.launch(owner=owner, offers=[cloud_offer()])
    await eventually(lambda: _machine(cloud, command) is not None)
    await world.peers.say(command.job_id, "training")
    await world.peers.until_told(command.job_id, "training_started")
    return command


def _machine(cloud: Cloud, command: LaunchJob) -> object:
    return next((found for found in cloud.living() if found.name == f"{command.job_id}-1"), None)


async def _finish(world: World, command: LaunchJob, *clouds: Cloud) -> None:
    await world.peers.exit(command.job_id, "success")
    await world.peers.until_told(command.job_id, "completed")
    for cloud in clouds:
        assert _machine(cloud, command) is None


async def test_each_owner_rents_at_the_own_account(world: World, clouds: Clouds, deployer: Deployer) -> None:
    annas, bertas = clouds.accounts[ANNAS_KEY], clouds.accounts[BERTAS_KEY]
    await set_key(world, ANNA, ANNAS_KEY)
    await set_key(world, BERTA, BERTAS_KEY)
    first, second = await _running(world, annas), await _running(world, bertas, BERTA)
    assert [found.name for found in annas.living()] == [f"{first.job_id}-1"]
    assert [found.name for found in bertas.living()] == [f"{second.job_id}-1"]
    await _finish(world, first, annas)
    await _finish(world, second, bertas)
    for cloud, other in ((annas, second), (bertas, first)):
        assert not any(other.job_id in request.about for request in cloud.requests)


async def test_without_a_key_nothing_is_launched_and_the_job_says_what_lacks(
    world: World, clouds: Clouds, deployer: Deployer
) -> None:
    await set_key(world, BERTA, BERTAS_KEY)
    command = await world.launch(offers=[cloud_offer()])
    ended = await world.peers.until_told(command.job_id, "failed")
    assert ended.attempt == 0
    assert "not configured" in (await world.row(command.job_id))["end_detail"]
    assert all(cloud.machines == {} for cloud in clouds.accounts.values())


async def test_a_replaced_key_of_another_account_leaves_running_machines_with_theirs(
    world: World, clouds: Clouds, deployer: Deployer
) -> None:
    annas, other = clouds.accounts[ANNAS_KEY], clouds.open(NEW_KEY, account_id="annas other one")
    await set_key(world, ANNA, ANNAS_KEY)
    before = await _running(world, annas)
    await set_key(world, ANNA, NEW_KEY)
    states = [(secret.version, secret.state) for secret in (await listed(world, ANNA)).secrets]
    assert states == [(2, "valid"), (1, "retired")]
    after = await _running(world, other)
    await _finish(world, before, annas, other)
    await _finish(world, after, annas, other)
    rows = await world.query("SELECT job_id, key_version FROM attempts")
    assert {row["job_id"]: row["key_version"] for row in rows} == {before.job_id: 1, after.job_id: 2}
    assert not any(before.job_id in request.about for request in other.requests)


async def test_a_removed_key_ends_its_machines_and_is_wiped_after_them(
    world: World, clouds: Clouds, deployer: Deployer
) -> None:
    annas = clouds.accounts[ANNAS_KEY]
    await set_key(world, ANNA, ANNAS_KEY)
    running = await _running(world, annas)
    left = await remove_key(world, ANNA)
    assert [(secret.name, secret.state) for secret in left.secrets] == [(CLOUD, "retired")]
    refused = await world.launch(offers=[cloud_offer()])
    await world.peers.until_told(refused.job_id, "failed")
    await world.cancel(running.job_id)
    await world.peers.until_told(running.job_id, "cancelled")
    assert annas.living() == []
    # An order that was lost may still turn up: it is kept for a while.
    await deployer.vault.wipe_needless()
    assert (await listed(world, ANNA)).secrets != []
    await world.query("UPDATE attempts SET ended_at = ended_at - interval '2 hours' RETURNING 1")
    await deployer.vault.wipe_needless()
    assert (await listed(world, ANNA)).secrets == []
    assert await world.query("SELECT * FROM secrets WHERE sealed IS NOT NULL") == []


async def test_a_key_rotated_at_the_provider_reaches_the_machines_of_the_old_one(
    world: World, clouds: Clouds, deployer: Deployer
) -> None:
    annas = clouds.accounts[ANNAS_KEY]
    await set_key(world, ANNA, ANNAS_KEY)
    running = await _running(world, annas)
    annas.further_keys.add(NEW_KEY)
    await set_key(world, ANNA, NEW_KEY)
    annas.key, annas.further_keys = NEW_KEY, set()  # the old one is taken back
    await _finish(world, running, annas)


async def test_a_key_that_is_refused_is_not_taken_for_a_machine_that_is_gone(
    world: World, clouds: Clouds, deployer: Deployer
) -> None:
    annas = clouds.accounts[ANNAS_KEY]
    await set_key(world, ANNA, ANNAS_KEY)
    running = await _running(world, annas)
    annas.key = "another"
    await asyncio.sleep(2)
    assert (await world.row(running.job_id))["status"] == S.TRAINING
    assert _machine(annas, running) is not None
    await world.cancel(running.job_id)
    await world.until(running.job_id, S.TERMINATING)
    await asyncio.sleep(1)
    assert (await world.row(running.job_id))["status"] == S.TERMINATING
    annas.key = ANNAS_KEY
    await world.peers.until_told(running.job_id, "cancelled")
    assert annas.living() == []


async def test_a_vault_that_cannot_be_opened_makes_nothing_gone(
    world: World, clouds: Clouds, deployer: Deployer
) -> None:
    annas = clouds.accounts[ANNAS_KEY]
    await set_key(world, ANNA, ANNAS_KEY)
    running = await _running(world, annas)
    local = await world.launch()
    file = deployer.settings.vault_key_file
    assert file is not None
    hidden = file.rename(file.with_suffix(".away"))
    await asyncio.sleep(2)
    assert (await world.row(running.job_id))["status"] == S.TRAINING
    # Jobs of other accounts do not notice.
    await world.peers.exit(local.job_id, "success")
    await world.peers.until_told(local.job_id, "completed")
    hidden.rename(file)
    await _finish(world, running, annas)


async def test_the_sweep_goes_over_each_account_and_ends_only_its_own(
    world: World, clouds: Clouds, deployer: Deployer
) -> None:
    annas, bertas = clouds.accounts[ANNAS_KEY], clouds.accounts[BERTAS_KEY]
    await set_key(world, ANNA, ANNAS_KEY)
    await set_key(world, BERTA, BERTAS_KEY)
    command = await _running(world, annas)
    (machine,) = annas.living()
    await world.cancel(command.job_id)
    await world.peers.until_told(command.job_id, "cancelled")
    late = annas.create(machine.order, annas.clock.now())
    # Berta's account shows a machine of the same name, which Anna's job never had there.
    theirs = bertas.create(machine.order, bertas.clock.now())
    unknown = bertas.create(_renamed(machine.order), bertas.clock.now())
    for _ in range(3):
        for account in await deployer.accounts.all():
            await deployer.sweep.sweep(account)
        await asyncio.sleep(0.5)
    assert not late.is_alive
    assert theirs.is_alive
    assert unknown.is_alive
    assert await _strays(world, BERTA) == [unknown.name]
    assert await _strays(world, ANNA) == []


async def test_offers_and_health_are_those_of_the_owner(world: World, clouds: Clouds, deployer: Deployer) -> None:
    clouds.accounts[ANNAS_KEY].price_micro_usd_per_hour = 77
    await set_key(world, ANNA, ANNAS_KEY)
    annas = (await world.peers.ask(OFFERS, OffersQuery(owner=ANNA))).offers
    assert {offer.price_micro_usd_per_hour for offer in annas if offer.provider == CLOUD} == {77, 154}
    bertas = await world.peers.ask(OFFERS, OffersQuery(owner=BERTA))
    assert {offer.provider for offer in bertas.offers} == {"local"}
    assert bertas.faults == []
    with pytest.raises(RemoteRefusal, match="no key is set") as caught:
        await world.peers.ask(OFFERS, OffersQuery(owner=BERTA, provider=CLOUD))
    assert caught.value.remote_code == "provider_key_missing"
    health = {
        owner: {found.provider: found for found in (await world.peers.ask(HEALTH, HealthQuery(owner=owner))).providers}
        for owner in (ANNA, BERTA)
    }
    assert (health[ANNA][CLOUD].is_usable, health[ANNA][CLOUD].is_set_up) == (True, True)
    assert (health[BERTA][CLOUD].is_usable, health[BERTA][CLOUD].is_set_up) == (False, False)
    assert "stoker secrets set cloud" in health[BERTA][CLOUD].next_step


async def test_a_launch_that_races_with_a_removal_keeps_its_key_or_does_not_begin(
    world: World, clouds: Clouds, deployer: Deployer
) -> None:
    annas = clouds.accounts[ANNAS_KEY]
    for _ in range(5):
        await set_key(world, ANNA, ANNAS_KEY)
        command, _ = await asyncio.gather(world.launch(offers=[cloud_offer()], max_attempts=1), remove_key(world, ANNA))
        await world.cancel(command.job_id)
        ended = await _end(world, command)
        assert ended in ("failed", "cancelled")
        (row,) = await world.query(
            """SELECT count(*) AS lost FROM attempts a LEFT JOIN secrets s
            ON (s.owner, s.name, s.version) = (a.owner, a.provider, a.key_version)
            WHERE a.ended_at IS NULL AND s.sealed IS NULL"""
        )
        assert row["lost"] == 0
        assert annas.living() == []


async def _end(world: World, command: LaunchJob) -> str:
    told = [asyncio.create_task(world.peers.until_told(command.job_id, end)) for end in ("failed", "cancelled")]
    done, others = await asyncio.wait(told, return_when=asyncio.FIRST_COMPLETED)
    await end_tasks(list(others))
    return done.pop().result().type


async def _strays(world: World, owner: str) -> list[str]:
    told = (await world.peers.ask(HEALTH, HealthQuery(owner=owner))).providers
    return [machine.name for health in told for machine in health.unknown_machines]


def _renamed(order: MachineOrder) -> MachineOrder:
    return replace(order, name="job-ffffffffffffffff-1")
